// Package ui shows people what a command does: progress while it runs, and tables of what came out.
//
// Libraries never print. They report to small interfaces of their own; the command line passes them a [Task], whose methods Add, Set and Note
// are what such interfaces ask for.
//
//	progress := ui.New(os.Stderr, ui.Options{Quiet: quiet})
//	defer progress.Wait()
//	task := progress.Task("train a", steps)
//	defer task.Abort() // no effect after Done
//	for ... {
//		task.Add(1)
//		task.Note(fmt.Sprintf("loss %.3f", loss))
//	}
//	task.Done()
//
// On a terminal every unfinished task is a bar that is redrawn in place, fitted to the width of the terminal; a finished one leaves a line.
// Anywhere else, as in a log file, a task writes a sparse line now and then and one at its end, none if it was done at once. Quiet writes nothing at all.
//
// A nil *Progress and a nil *Task are valid and silent, and everything is safe for concurrent use. Goroutines live only while a task on a
// terminal is unfinished, and are joined by the call that finishes the last one.
package ui
