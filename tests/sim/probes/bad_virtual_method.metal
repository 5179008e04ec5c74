// expect: attempt to use a poisoned identifier
#include <metal_stdlib>
using namespace metal;

struct S {
  virtual int f() { return 1; }
};
kernel void k(device int* a [[buffer(0)]]) {
  S s;
  a[0] = s.f();
}
