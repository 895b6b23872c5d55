package recipes
import ("testing";"strings";"time";"fmt")
func TestZZ(t *testing.T){
 var many strings.Builder
 for i:=0;i<90000;i++{fmt.Fprintf(&many,"k%d: 1\n",i)}
 for n,s:=range map[string]string{"many":many.String(),"many2":many.String()[:60000],"colons":strings.Repeat("a:\n",300000),"q":strings.Repeat("? ",300000),"qn":strings.Repeat("?\n",300000),"com": "a: ["+strings.Repeat(",",1000000), "com2": "a: ["+strings.Repeat("a,",1000000), "brace":strings.Repeat("{}",400000),"fl":"a: ["+strings.Repeat("b: c,",200000),"sp":strings.Repeat("a ",500000)+": 1","seq":"a:\n"+strings.Repeat("- a\n",200000),"seqm":"a:\n"+strings.Repeat("- a: 1\n",4900),"str":strings.Repeat("'a' ",200000),"col":"a: ["+strings.Repeat(":",1000000),"cmt":"a: [\n"+strings.Repeat("#\n",400000),"bang":"a: "+strings.Repeat("|\n",400000),"seqx":strings.Repeat("- a\n",200000)+"x"}{
  t0:=time.Now(); _,err:=ParseLock("r",[]byte(s)); f,_:=err.(Faults); fmt.Println(n,len(s),time.Since(t0),len(f),f[0])
 }
 l:=goodLock(); for i:=0;i<60000;i++{ n:=fmt.Sprintf("x%d",i); l.Toolchain=append(l.Toolchain,n); l.Debian["bookworm"]=append(l.Debian["bookworm"],Deb{Name:n,Version:"1",Arch:"all",File:"pool/x/x.deb",SHA256:hash})}
 b:=l.Encode(); t0:=time.Now(); _,err:=ParseLock("l",b); fmt.Println("lock",len(b),time.Since(t0),err)
}
