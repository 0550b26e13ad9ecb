// Package cli is the command line: one file per subcommand, each turning flags into a library call and its result into a table or JSON.
//
// It is the only place that knows exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Results go to standard output, progress and errors
// to standard error. With --json standard output carries one object and nothing else; values that are not finite are null there and named in
// "nonfinite".
package cli
