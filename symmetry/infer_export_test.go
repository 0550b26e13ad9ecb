package symmetry

// HasRule says that inference understands an operator: by a rule, or by looking through it.
func HasRule(op string) bool {
	_, ok := inferRules[op]
	return ok || op == "Constant" || op == "Identity"
}
