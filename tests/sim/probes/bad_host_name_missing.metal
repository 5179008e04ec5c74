// expect: no kernel that the host could find
#include <metal_stdlib>
using namespace metal;

template <typename T>
[[kernel]] void g(device T* a [[buffer(0)]]) {
  a[0] = T(1);
}
