package symmetry

import "github.com/rebasin/rebasin/graph"

// HasRule says that inference understands an operator: by a rule, by looking through it, or by writing it out.
func HasRule(op string) bool {
	_, ok := inferRules[op]
	return ok || op == "Constant" || op == "Identity" || graph.IsFunction(op)
}
