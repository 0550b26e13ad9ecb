// Package task runs pieces of work whose results are kept: a [Plan] of tasks, a [Store] that holds what each one made, and an executor that does
// what is missing.
//
// # Keys
//
// A task is done once. What it makes, its artifact, is a folder of files stored under a key: the SHA-256 of all that determines the result, which is
// the kind of task and the kind's recipe number, the options, the instruction set, and the keys of the tasks whose artifacts it reads. A change of
// the program does not make artifacts stale; whoever changes what a kind of task computes raises its recipe number.
//
// # Crashes
//
// An artifact is written aside and put in its place by one rename, with the hashes of its files in its manifest. A run that was killed is run
// again: what is there is not redone, a task that was at work may go on from what it left in its scratch folder, and an artifact that does not
// match its hashes is removed, reported and made again. A store is locked by who runs it.
//
// # Elsewhere
//
// A [Runner] does one task, given as JSON and folders. [Local] does it in this process; another runner can do it on another machine that sees the
// same folders.
package task
