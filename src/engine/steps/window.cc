#include "engine/steps/window.h"

#include <algorithm>

namespace octet::engine {
namespace {

constexpr int64_t kMaxSide = 1 << 20;

void expect_images(const StepSetup& setup) {
  const Shape &x = setup.input(0).shape, &y = setup.output().shape;
  setup.expect(x.size() == 4 && y.size() == 4 && x[0] == y[0] && x[1] == y[1],
               "input and output differ in images or channels");
}

}  // namespace

Window read_window(const StepSetup& setup) {
  expect_images(setup);
  Window w{setup.int_list("kernel", 2, 1, kMaxSide), setup.int_list("strides", 2, 1, kMaxSide),
           setup.int_list("dilations", 2, 1, kMaxSide), setup.int_list("pads", 4, 0, kMaxSide)};
  for (int i = 0; i < 2; ++i) {
    const int64_t in = setup.input(0).shape[i + 2], out = setup.output().shape[i + 2];
    setup.expect(w.pads[i] < (w.kernel[i] - 1) * w.dilations[i] + 1, "a pad is as large as the window");
    setup.expect(in > 0, "the image is empty");
    // Longer ones cover the image anyway, and only cost time.
    setup.expect(w.kernel[i] <= std::max<int64_t>(in, 4096), "the window is much larger than the image");
    setup.expect(out > 0 && (out - 1) * w.strides[i] < in + w.pads[i], "a window lies outside of the image");
  }
  return w;
}

Window whole_image_window(const StepSetup& setup) {
  expect_images(setup);
  const Shape& x = setup.input(0).shape;
  setup.expect(setup.output().shape[2] == 1 && setup.output().shape[3] == 1,
               "global pooling gives one pixel");
  setup.expect(x[2] > 0 && x[3] > 0, "the image is empty");
  return {{x[2], x[3]}, {1, 1}, {1, 1}, {0, 0, 0, 0}};
}

}  // namespace octet::engine
