package kernel
import ("testing";"fmt")
func BenchmarkTiny(b *testing.B){
 for _,s:=range []struct{m,n,k int; ta,tb bool}{{10,64,128,true,false},{128,64,10,false,false},{128,10,64,false,true},{500,10,512,false,true}}{
 b.Run(fmt.Sprint(s),func(b *testing.B){
 a,x,c:=make([]float32,s.m*s.k),make([]float32,s.n*s.k),make([]float32,s.m*s.n)
 lda,ldb:=s.k,s.n
 if s.ta {lda=s.m}; if s.tb {ldb=s.k}
 for b.Loop(){ Gemm(nil,s.ta,s.tb,s.m,s.n,s.k,a,lda,x,ldb,0,c,s.n)}
 b.ReportMetric(2e-9*float64(s.m*s.n*s.k*b.N)/b.Elapsed().Seconds(),"GF")
 })}
}
