// expect: static local variable 'c'
#include <metal_stdlib>
using namespace metal;

kernel void k(device int* a [[buffer(0)]]) {
  static int c;
  a[0] = c++;
}
