package cli

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/internal/bench"
	"github.com/rebasin/rebasin/train"
	"github.com/rebasin/rebasin/zoo"
)

func (a *app) bench() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Time the assignment solver, the matrix product, weight matching, training",
		Long: `Times the parts that decide how fast rebasin is, each the best of several runs
in one process.`,
		Example: `  rebasin bench assign --kind b --n 1024
  rebasin bench gemm --m 512 --n 512 --k 512 --threads 1
  rebasin bench train --arch mlp --width 1 --json`,
		Args: knownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.benchAssign(), a.benchGemm(), a.benchMatch(), a.benchTrain())
	return c
}

// assignFlags are the flags of bench assign.
type assignFlags struct {
	read, kind string
	n, columns int
	runs       int
	seed       uint64
	maximize   bool
}

func (a *app) benchAssign() *cobra.Command {
	var f assignFlags
	c := &cobra.Command{
		Use:   "assign",
		Short: "Time the assignment solver",
		Long: `Times the assignment solver on a square matrix of one of the kinds that weight
matching meets, or on a file of raw little-endian float32, row-major. Kinds are
maximised. a: uniform; b: product of two Gaussian matrices; c1, c2, c3: a planted
permutation under little, medium, heavy noise; d1: small integers; d2: planted, with
30 % dead units.`,
		Example: `  rebasin bench assign --kind c2 --n 2048
  rebasin bench assign --read costs.f32 --n 2048 --maximize --json`,
		Args: arguments(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return a.runBenchAssign(c.Context(), &f) },
	}
	s := c.Flags()
	s.StringVar(&f.kind, "kind", "b", "kind of matrix: "+strings.Join(bench.Kinds(), ", "))
	s.StringVar(&f.read, "read", "", "read the matrix from this file instead")
	s.IntVar(&f.n, "n", 1024, "rows and columns")
	s.IntVar(&f.columns, "columns", 0, "columns of the file's matrix, if not as many as rows")
	s.IntVar(&f.runs, "runs", 3, "runs, of which the best counts")
	s.Uint64Var(&f.seed, "seed", 0, "seed of the matrix")
	s.BoolVar(&f.maximize, "maximize", false, "look for the largest sum in the file, not the smallest")
	choices(c, "kind", bench.Kinds()...)
	return c
}

func (a *app) runBenchAssign(ctx context.Context, f *assignFlags) error {
	if f.runs < 1 || f.n < 1 {
		return usagef("--n and --runs must be at least 1")
	}
	if f.columns < 0 || f.columns > 0 && f.read == "" {
		return usagef("--columns goes with --read, and must be at least 1")
	}
	if !slices.Contains(bench.Kinds(), f.kind) {
		return usagef("unknown kind %q; there are %s", f.kind, strings.Join(bench.Kinds(), ", "))
	}
	columns := cmp.Or(f.columns, f.n)
	cost, maximize, err := []float32(nil), true, error(nil)
	if f.read != "" {
		maximize = f.maximize
		cost, err = bench.ReadMatrix(f.read, f.n, columns)
	} else {
		cost, err = bench.Matrix(f.kind, f.n, f.seed)
	}
	if err != nil {
		return err
	}
	r, err := bench.SolveAssignment(ctx, cost, f.n, columns, maximize, f.runs)
	if err != nil {
		return err
	}
	a.finish()
	if a.json {
		return writeJSON(a.stdout, r)
	}
	a.printf("n %d: value %.6f in %.6f s, dual gap %.3g\n", r.N, r.Value, r.Seconds, r.DualGap)
	return nil
}

func (a *app) benchGemm() *cobra.Command {
	var m, n, k int
	var transA, transB bool
	c := &cobra.Command{
		Use:   "gemm",
		Short: "Time the float32 matrix product",
		Long: `Times C = A·B, A of m x k and B of k x n, in float32, and measures the peak of the
processor: fused multiply-adds in registers alone.`,
		Example: `  rebasin bench gemm --m 2048 --n 2048 --k 2048 --threads 2
  rebasin bench gemm --m 500 --n 512 --k 784 --trans-b --json`,
		Args: arguments(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			if m < 1 || n < 1 || k < 1 {
				return usagef("--m, --n and --k must be at least 1")
			}
			r, err := bench.MultiplyMatrices(c.Context(), m, n, k, transA, transB, a.threads)
			if err != nil {
				return err
			}
			a.finish()
			if a.json {
				return writeJSON(a.stdout, r)
			}
			a.printf("%d x %d x %d on %d threads (%s): %.1f GFLOP/s, %.0f %% of the peak of %.1f\n", m, n, k, r.Threads, r.Kernel, r.GFLOPS, 100*r.GFLOPS/r.Peak, r.Peak)
			return nil
		},
	}
	s := c.Flags()
	s.IntVar(&m, "m", 1024, "rows of A and C")
	s.IntVar(&n, "n", 1024, "columns of B and C")
	s.IntVar(&k, "k", 1024, "columns of A and rows of B")
	s.BoolVar(&transA, "trans-a", false, "A is stored transposed")
	s.BoolVar(&transB, "trans-b", false, "B is stored transposed")
	return c
}

func (a *app) benchMatch() *cobra.Command {
	var models modelFlags
	var seed uint64
	var runs int
	c := &cobra.Command{
		Use:   "match A B",
		Short: "Time weight matching",
		Long: `Times weight matching from the identity, and says where the time went and how many
operations were done beside those of computing every similarity in full.`,
		Example: `  rebasin bench match a.safetensors b.safetensors
  rebasin bench match a.safetensors b.safetensors --symmetry net.yaml --json`,
		Args: arguments(2, 2, "two models, A and B, are"),
		RunE: func(c *cobra.Command, args []string) error {
			if runs < 1 {
				return usagef("--runs must be at least 1")
			}
			return a.runBenchMatch(c.Context(), &models, args[0], args[1], seed, runs)
		},
	}
	models.register(c)
	c.Flags().StringVar(&models.symmetry, "symmetry", "", "take the symmetry from this specification file")
	c.Flags().Uint64Var(&seed, "seed", 0, "seed of the orders of groups")
	c.Flags().IntVar(&runs, "runs", 3, "runs, of which the best counts")
	return c
}

func (a *app) runBenchMatch(ctx context.Context, models *modelFlags, pathA, pathB string, seed uint64, runs int) error {
	pair, err := models.openAll(ctx, pathA, pathB)
	if err != nil {
		return err
	}
	defer pair.close()
	sym, err := models.symmetryOf(ctx, pair...)
	if err != nil {
		return err
	}
	pa, err := pair[0].Params(ctx)
	if err != nil {
		return err
	}
	pb, err := pair[1].Params(ctx)
	if err != nil {
		return err
	}
	r, err := bench.MatchWeights(ctx, sym, pa, pb, seed, a.threads, runs)
	if err != nil {
		return err
	}
	a.finish()
	if a.json {
		return writeJSON(a.stdout, r)
	}
	a.printf("objective %.6g in %d sweeps and %.3f s; %.3g floating-point operations for similarities, %.3g if each were computed in full\n",
		r.Objective, r.Sweeps, r.Seconds, r.FLOPs, r.FullFLOPs)
	for _, part := range []string{"similarity", "assignment", "moves", "other"} {
		a.printf("%-12s %.3f s (%.0f %%)\n", part, r.Parts[part], 100*r.Parts[part]/r.Seconds)
	}
	return nil
}

func (a *app) benchTrain() *cobra.Command {
	cfg := zoo.Config{Classes: 10}
	var batch, steps int
	c := &cobra.Command{
		Use:   "train",
		Short: "Time training",
		Long: `Times forward, backward and update of a network on random data: the best step of at
least 8, after two of warm-up.`,
		Example: `  rebasin bench train --arch mlp --width 1
  rebasin bench train --arch resnet20 --width 2 --norm layer --batch 128 --threads 1 --json`,
		Args: arguments(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("batch") && batch < 1 || c.Flags().Changed("steps") && steps < 1 {
				return usagef("--batch and --steps must be at least 1")
			}
			usual := trainBenchDefaults(&cfg)
			resolved, err := cfg.Resolve()
			if err != nil {
				return usageError{err}
			}
			r, err := bench.TrainNetwork(c.Context(), resolved, usual.optimizer, cmp.Or(batch, usual.batch), cmp.Or(steps, usual.steps), a.threads)
			if err != nil {
				return err
			}
			a.finish()
			if a.json {
				return writeJSON(a.stdout, r)
			}
			a.printf("%s images/s (median %s) in batches of %d on %d threads\n", rate(r.ImagesPerSecond), rate(r.Median), r.Batch, r.Threads)
			return nil
		},
	}
	s := c.Flags()
	s.StringVar(&cfg.Arch, "arch", "mlp", "architecture: "+strings.Join(architectures, ", "))
	s.Float64Var(&cfg.Width, "width", 1, "multiplies the architecture's own widths")
	s.StringVar(&cfg.Norm, "norm", "", "normalisation: none (default of mlp), layer; vgg, resnet: also batch (default), group")
	s.StringVar(&cfg.Shortcut, "shortcut", "", "projections of a resnet for CIFAR: conv3 (default), conv1, pad")
	s.IntVar(&batch, "batch", 0, "samples in a batch; 0 is 500 for mlp, else 128")
	s.IntVar(&steps, "steps", 0, "steps timed, at least 8; 0 is 120 for mlp, else 8")
	return c
}

// trainBenchUsual is what an architecture is usually trained with, and how often to time it.
type trainBenchUsual struct {
	optimizer    train.Optimizer
	batch, steps int
}

// trainBenchDefaults gives mlp the shape of MNIST's images.
func trainBenchDefaults(cfg *zoo.Config) trainBenchUsual {
	if cfg.Arch != "mlp" {
		return trainBenchUsual{train.Optimizer{Name: "sgd", Momentum: .9}, 128, 8}
	}
	cfg.Input = []int{784}
	return trainBenchUsual{train.Optimizer{Name: "adam"}, 500, 120}
}

func rate(x float64) string { return strconv.FormatFloat(x, 'f', 0, 64) }
