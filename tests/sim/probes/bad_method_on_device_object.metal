// expect: cannot initialize object parameter of type 'const P' with an expression of type 'device P'
#include <metal_stdlib>
using namespace metal;

struct P {
  int a;
  int get() const { return a; }
};
kernel void k(device P* a [[buffer(0)]]) {
  a[0].a = a[1].get();
}
