// Package experiment declares whole pieces of work, from data to figures, each a function of a seed.
//
// [Demo] is the paper's central result on MNIST in about a minute. All else is experiments on several pairs of networks, for error bars: a [Spec], which is one of
// the paper's at a scale ([Preset]) or a file of one's own ([ReadSpec]), is expanded to tasks ([Lab.Plan]), which are done and kept by package
// experiment/task ([Run]). What comes out is [Record]s, lines of JSON that depend on nothing but what was declared.
//
// # Words
//
// A case is a network, its data and its training; a pair is two networks of a case that differ in their seeds. An end is a network as it was trained, the
// midpoint the mean of the two, aligned or not. A claim is a sentence of the paper; its verdict, holds, does not hold or undecided, is computed from records by
// a rule that is stated ([Finished.Summary]).
//
// # Invariants
//
// Equal specs give records that are equal byte for byte, on any number of threads, and after any number of interruptions. Times stand in files of their own.
// What was not measured, or not well enough, decides nothing: a case without its data is not run, and networks that are hardly trained, or have learned
// nothing, are named.
//
//	lab := &experiment.Lab{}
//	spec, err := experiment.Preset("interpolation", experiment.Smoke)
//	plan, err := lab.Plan(ctx, spec)
//	store, err := task.Open(dir, version)
//	records, err := experiment.Run(ctx, store, dir, plan, task.ExecuteOptions{Threads: 2})
//	run, err := experiment.ReadRun(experiment.RunDir(dir, plan.Spec.Name))
//	files, err := experiment.WriteReport(page, []*experiment.Finished{run})
package experiment
