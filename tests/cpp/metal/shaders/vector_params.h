// Parameters of the test kernels.
#pragma once

struct VectorParams {
  uint count;
  float scale;
};
