// Package cli is the command line: one file per subcommand, each turning flags into a library call and its result into a table or JSON.
//
// A command checks its flags and that its outputs can be written before it opens anything, so that a mistake costs no time. Its inputs are never
// written; its outputs appear whole or not at all, whenever it is interrupted.
//
// This is the only place that knows exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Results go to standard output; progress, and one
// line about an error, to standard error. With --json standard output carries one object and nothing else; values that are not finite are null
// there and named in "nonfinite".
package cli
