package nn

import "github.com/rebasin/rebasin/internal/kernel"

// pieceSize is how many elements one part of a parallel elementwise step covers: enough to be worth a thread's while.
const pieceSize = 1 << 14

// pieces is a kernel.Task that calls body on consecutive ranges of [0, n).
type pieces struct {
	n, size int
	body    func(lo, hi int)
}

// Do implements kernel.Task.
func (p *pieces) Do(part int) { p.body(part*p.size, min((part+1)*p.size, p.n)) }

// parallel returns a function that calls body on consecutive ranges of [0, n), on all threads. The ranges depend on n and cost alone, cost
// being the elements that stand behind one index.
func (c *call[T]) parallel(n, cost int, body func(lo, hi int)) func() {
	pool, task := c.planner.engine.pool, &pieces{n: n, size: max(1, pieceSize/max(cost, 1)), body: body}
	parts := (n + task.size - 1) / task.size
	return func() { pool.Run(parts, task) }
}

// sumRowsBlock is the number of rows that one part of a sum over rows adds up.
const sumRowsBlock = 64

// sumRows returns a function that adds the sum of the rows of src, rows x cols, to beta() times what dst() holds. Blocks of rows are
// summed on all threads, then the blocks' sums in order.
func (c *call[T]) sumRows(dst func() []T, src *buffer[T], rows, cols int, beta func() T) func() {
	blocks := (rows + sumRowsBlock - 1) / sumRowsBlock
	partial := c.scratchBack(blocks * cols)
	sum := &pieces{n: rows, size: sumRowsBlock, body: func(lo, hi int) {
		block := lo / sumRowsBlock
		kernel.SumRows(partial.data[block*cols:(block+1)*cols], src.data[lo*cols:hi*cols], hi-lo, cols, 0)
	}}
	pool := c.planner.engine.pool
	return func() {
		pool.Run(blocks, sum)
		kernel.SumRows(dst(), partial.data, blocks, cols, beta())
	}
}
