// expect: recursion through '
#include <metal_stdlib>
using namespace metal;

int odd(int n);
int even(int n) { return n == 0 ? 1 : odd(n - 1); }
int odd(int n) { return n == 0 ? 0 : even(n - 1); }
kernel void k(device int* a [[buffer(0)]]) {
  a[0] = even(a[0]);
}
