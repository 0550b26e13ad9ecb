package symmetry

import (
	"fmt"
	"maps"

	"github.com/rebasin/rebasin/graph"
)

// inferRule is what inference knows of an operator.
type inferRule struct {
	apply func(*application)
	site  siteRank
}

// siteRank says how well the units of a group can be observed in the output of an operator.
type siteRank uint8

const (
	siteNever        siteRank = iota // the operator moves values about: what it reads is observed already
	siteComputed                     // any operator that computes
	siteAddition                     // after an addition
	siteNonlinearity                 // after a nonlinearity
)

// inferRules is the registry: one map per family of operators. Operators of the graph package without an entry pin what they touch.
var inferRules = mergeRules(branchRules, channelRules, contractionRules, elementwiseRules, indexRules, linearRules, normalisationRules, partRules,
	recurrentRules, shapeRules, spatialRules)

func mergeRules(families ...map[string]inferRule) map[string]inferRule {
	all := map[string]inferRule{}
	for _, f := range families {
		maps.Copy(all, f)
	}
	return all
}

// application is a rule at work on one node whose shapes are known.
type application struct {
	inf  *inference
	node *inferNode
	in   []*operand // nil where an optional input is absent
	out  *operand
	// takes says that the operator takes a part of its first input and reads nothing else of it.
	takes bool
}

func (a *application) why(what string) string {
	return fmt.Sprintf("%s (%s): %s", nodeName(a.node), a.node.Op, what)
}

// pin keeps the order of everything that the node touches.
func (a *application) pin(err error) {
	for _, o := range append(a.in, a.out) {
		if o != nil {
			o.pin(a.why(err.Error()))
		}
	}
}

// input adds a facet for input i, if it is there. Its axes are lined up with the last ones of the indices given, as broadcasting does.
func (a *application) input(s *indexSpace, i int, index []int) {
	if i < len(a.in) && a.in[i] != nil {
		s.facets = append(s.facets, facet{operand: a.in[i], index: index[len(index)-len(a.in[i].axes):]})
	}
}

// meet completes the space with the output.
func (a *application) meet(s *indexSpace, index []int) {
	s.facets = append(s.facets, facet{operand: a.out, index: index, output: true})
	a.inf.meet(s, a.why("factors that meet have no common refinement"))
}

// indices is 0, 1, ..., n-1.
func indices(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

var elementwiseRules = map[string]inferRule{
	"Add":         {elementwise, siteAddition},
	"Sub":         {elementwise, siteAddition},
	"Mul":         {elementwise, siteComputed},
	"Div":         {elementwise, siteComputed},
	"Relu":        {elementwise, siteNonlinearity},
	"LeakyRelu":   {elementwise, siteNonlinearity},
	"PRelu":       {elementwise, siteNonlinearity},
	"Tanh":        {elementwise, siteNonlinearity},
	"Sigmoid":     {elementwise, siteNonlinearity},
	"Gelu":        {elementwise, siteNonlinearity},
	"Clip":        {first, siteNonlinearity},
	"HardSigmoid": {elementwise, siteNonlinearity},
	"HardSwish":   {elementwise, siteNonlinearity},
	"Elu":         {elementwise, siteNonlinearity},
	"Softplus":    {elementwise, siteNonlinearity},
	"Mish":        {elementwise, siteNonlinearity},
	"Sum":         {elementwise, siteAddition},
	"Pow":         {elementwise, siteComputed},
	"Min":         {elementwise, siteComputed},
	"Max":         {elementwise, siteComputed},
	"Sqrt":        {elementwise, siteComputed},
	"Reciprocal":  {elementwise, siteComputed},
	"Erf":         {elementwise, siteComputed},
	"Exp":         {elementwise, siteComputed},
	"Log":         {elementwise, siteComputed},
	"Neg":         {elementwise, siteComputed},
	"Abs":         {elementwise, siteComputed},
	"Sign":        {elementwise, siteComputed},
	"Floor":       {elementwise, siteComputed},
	"Ceil":        {elementwise, siteComputed},
	"Sin":         {elementwise, siteComputed},
	"Cos":         {elementwise, siteComputed},
	"Where":       {elementwise, siteComputed},
	"Dropout":     {first, siteNever},
	"Cast":        {first, siteNever},
	"Expand":      {first, siteNever},

	"Equal":          {elementwise, siteNever},
	"Less":           {elementwise, siteNever},
	"LessOrEqual":    {elementwise, siteNever},
	"Greater":        {elementwise, siteNever},
	"GreaterOrEqual": {elementwise, siteNever},
	"And":            {elementwise, siteNever},
	"Or":             {elementwise, siteNever},
	"Xor":            {elementwise, siteNever},
	"Not":            {elementwise, siteNever},
}

// elementwise gives the inputs the indices of the output, from the last on.
func elementwise(a *application) {
	index, s := indices(len(a.out.axes)), &indexSpace{}
	for i := range a.in {
		a.input(s, i, index)
	}
	a.meet(s, index)
}

// first is elementwise in the first input, broadcast to the output; the others are scalars or settings: bounds, what Dropout does in training, the target
// of Expand.
func first(a *application) {
	index, s := indices(len(a.out.axes)), &indexSpace{}
	a.input(s, 0, index)
	a.meet(s, index)
}

var linearRules = map[string]inferRule{
	"Gemm":   {gemm, siteAddition},
	"MatMul": {matmul, siteComputed},
}

// gemm has the indices row, contracted, column.
func gemm(a *application) {
	const row, contracted, column = 0, 1, 2
	left, right, s := []int{row, contracted}, []int{contracted, column}, &indexSpace{}
	if a.node.Attrs.Int("transA", 0) != 0 {
		left = []int{contracted, row}
	}
	if a.node.Attrs.Int("transB", 0) != 0 {
		right = []int{column, contracted}
	}
	a.input(s, 0, left)
	a.input(s, 1, right)
	a.input(s, 2, []int{row, column})
	a.meet(s, []int{row, column})
}

// matmul has the batch's indices, then row, contracted, column; a vector lacks row or column.
func matmul(a *application) {
	ranks := [2]int{len(a.in[0].axes), len(a.in[1].axes)}
	batch := max(ranks[0], ranks[1], 2) - 2
	row, contracted, column := batch, batch+1, batch+2
	out := indices(batch)
	left, right := append(indices(batch), row, contracted), append(indices(batch), contracted, column)
	if ranks[0] > 1 {
		out = append(out, row)
	}
	if ranks[1] > 1 {
		out = append(out, column)
	} else {
		right = []int{contracted}
	}
	s := &indexSpace{}
	a.input(s, 0, left)
	a.input(s, 1, right)
	a.meet(s, out)
}

var normalisationRules = map[string]inferRule{
	"Softmax":            {softmax, siteNonlinearity},
	"LogSoftmax":         {softmax, siteNonlinearity},
	"LayerNormalization": {layerNormalization, siteComputed},
}

// softmax divides by sums that lack the axis.
func softmax(a *application) {
	index := indices(len(a.out.axes))
	axis, err := graph.Axis(a.node.Attrs.Int("axis", -1), len(index))
	if err != nil {
		a.pin(err)
		return
	}
	s := &indexSpace{}
	a.input(s, 0, index)
	s.facets = append(s.facets, facet{index: append(indices(axis), index[axis+1:]...)})
	a.meet(s, index)
}

// layerNormalization has means and deviations that lack all axes from axis on, and a scale and a bias that have no others.
func layerNormalization(a *application) {
	index := indices(len(a.out.axes))
	axis, err := graph.Axis(a.node.Attrs.Int("axis", -1), len(index))
	if err != nil {
		a.pin(err)
		return
	}
	s := &indexSpace{}
	a.input(s, 0, index)
	a.input(s, 1, index)
	a.input(s, 2, index)
	s.facets = append(s.facets, facet{index: index[:axis]})
	a.meet(s, index)
}

var shapeRules = map[string]inferRule{
	"Flatten":   {reshape, siteNever},
	"Reshape":   {reshape, siteNever},
	"Transpose": {transpose, siteNever},
	"Squeeze":   {reshape, siteNever},
	"Unsqueeze": {reshape, siteNever},
}

// reshape keeps the row-major order of all elements.
func reshape(a *application) {
	a.inf.unify(a.in[0].flat(), a.out.flat(), a.why("strides do not divide"))
}

func transpose(a *application) {
	perm, err := graph.Perm(&a.node.Node, len(a.in[0].axes))
	if err != nil {
		a.pin(err)
		return
	}
	s := &indexSpace{}
	a.input(s, 0, indices(len(perm)))
	a.meet(s, perm)
}
