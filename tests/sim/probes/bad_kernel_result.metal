// expect: kernel 'k' must return void
#include <metal_stdlib>
using namespace metal;

kernel int k(device int* a [[buffer(0)]]) {
  return a[0];
}
