package recipes
import ("testing";"strings";"time";"fmt")
func TestZZ(t *testing.T){
 deep:=""
 for i:=0;i<1400;i++{deep+=strings.Repeat(" ",i)+"a:\n"}
 var many strings.Builder
 for i:=0;i<90000;i++{fmt.Fprintf(&many,"k%d: 1\n",i)}
 deepdash:=""
 for i:=0;i<1400;i++{deepdash+=strings.Repeat(" ",i)+"-\n"}
 for n,s:=range map[string]string{"deep":deep,"dash":deepdash,"many":many.String(),"tags":"a: "+strings.Repeat("!a ",300000),"colons":strings.Repeat("a:\n",300000),"amp":strings.Repeat("&a ",300000),"q":strings.Repeat("? ",300000),"qn":strings.Repeat("?\n",300000),"dn":strings.Repeat("---\n",250000), "com":"a: ["+strings.Repeat(",",1000000), "brace":strings.Repeat("{}",400000),"flows":"a: ["+strings.Repeat("[],",340000)+"]","pairs":"a: {"+strings.Repeat("b: 1,",200000)+"}", "pure":"pure: ["+strings.Repeat("A,",500000)+"]","cfg":"python: {version: 3.13.5, configure: ["+strings.Repeat("--x,",250000)+"]}"}{
  t0:=time.Now(); _,err:=ParseRecipe("r",[]byte(s)); f,_:=err.(Faults); fmt.Println(n,len(s),time.Since(t0),len(f),f[0])
 }
 l:=goodLock(); for i:=0;i<60000;i++{ n:=fmt.Sprintf("x%d",i); l.Toolchain=append(l.Toolchain,n); l.Debian["bookworm"]=append(l.Debian["bookworm"],Deb{Name:n,Version:"1",Arch:"all",File:"pool/x/x.deb",SHA256:hash})}
 b:=l.Encode(); t0:=time.Now(); _,err:=ParseLock("l",b); fmt.Println("lock",len(b),time.Since(t0),err)
}
