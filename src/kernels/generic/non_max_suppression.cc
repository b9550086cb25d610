// NonMaxSuppression: of each class the boxes with the highest scores, each but those that overlap a better
// one.
#include <numeric>

#include "kernels/generic/makers.h"
#include "kernels/generic/ops.h"

namespace octet::kernels::generic {
namespace {

struct Box {
  float low[2], high[2], area;
};

// From two opposite corners in any order, or from the centre and the size.
Box read_box(const float* v, bool centred) {
  Box box;
  for (int i = 0; i < 2; ++i) {
    const float a = centred ? v[i] - v[i + 2] / 2 : v[i], b = centred ? v[i] + v[i + 2] / 2 : v[i + 2];
    box.low[i] = a < b ? a : b;
    box.high[i] = a < b ? b : a;
  }
  box.area = (box.high[0] - box.low[0]) * (box.high[1] - box.low[1]);
  return box;
}

// Intersection over union; 0 for boxes without an area.
float overlap(const Box& a, const Box& b) {
  float common = 1;
  for (int i = 0; i < 2; ++i) {
    const float side = std::min(a.high[i], b.high[i]) - std::max(a.low[i], b.low[i]);
    if (!(side > 0)) return 0;
    common *= side;
  }
  const float both = a.area + b.area - common;
  return a.area > 0 && b.area > 0 && both > 0 ? common / both : 0;
}

struct Limits {
  int64_t boxes = 0;  // of a class
  float overlap = 0;
  bool has_score = false;
  float score = 0;
};

Limits read_limits(Inputs inputs) {
  Limits limits;
  for (size_t i = 2; i < inputs.size(); ++i)
    expect(!has(inputs, i) || inputs[i].count() == 1, "a limit must have one element");
  if (has(inputs, 2)) limits.boxes = std::max<int64_t>(0, to_int64(inputs[2])[0]);
  if (has(inputs, 3)) limits.overlap = to_float(inputs[3])[0];
  limits.has_score = has(inputs, 4);
  if (limits.has_score) limits.score = to_float(inputs[4])[0];
  expect(limits.overlap >= 0 && limits.overlap <= 1, "iou_threshold must be between 0 and 1");
  return limits;
}

// Indices of the boxes of one class, best first.
std::vector<int64_t> suppress(const std::vector<Box>& boxes, const float* scores, const Limits& limits) {
  std::vector<int64_t> order;
  for (int64_t i = 0; i < static_cast<int64_t>(boxes.size()); ++i)
    if (scores[i] == scores[i] && (!limits.has_score || scores[i] > limits.score)) order.push_back(i);
  std::sort(order.begin(), order.end(),
            [&](int64_t i, int64_t j) { return scores[i] > scores[j] || (scores[i] == scores[j] && i < j); });
  std::vector<int64_t> chosen;
  for (int64_t i : order) {
    if (static_cast<int64_t>(chosen.size()) >= limits.boxes) break;
    const Box& box = boxes[static_cast<size_t>(i)];
    if (std::none_of(chosen.begin(), chosen.end(), [&](int64_t better) {
          return overlap(boxes[static_cast<size_t>(better)], box) > limits.overlap;
        }))
      chosen.push_back(i);
  }
  return chosen;
}

}  // namespace

void make_non_max_suppression(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 5, outputs);
  const Tensor &boxes = inputs[0], &scores = inputs[1];
  expect_dtype(boxes, DType::kFloat32);
  expect_dtype(scores, DType::kFloat32);
  expect_dtype(outputs[0], DType::kInt64);
  expect(boxes.rank() == 3 && boxes.shape()[2] == 4 && scores.rank() == 3 &&
             boxes.shape()[0] == scores.shape()[0] && boxes.shape()[1] == scores.shape()[2],
         "boxes [images, boxes, 4] and scores [images, classes, boxes] expected");
  const Limits limits = read_limits(inputs);
  const bool centred = attributes.get_int("center_point_box", 0) != 0;
  const int64_t count = boxes.shape()[1], classes = scores.shape()[1];
  std::vector<int64_t> rows;
  std::vector<Box> own(static_cast<size_t>(count));
  for (int64_t image = 0; image < boxes.shape()[0]; ++image) {
    for (int64_t i = 0; i < count; ++i)
      own[static_cast<size_t>(i)] = read_box(data<float>(boxes) + (image * count + i) * 4, centred);
    for (int64_t c = 0; c < classes; ++c)
      for (int64_t i : suppress(own, data<float>(scores) + (image * classes + c) * count, limits))
        rows.insert(rows.end(), {image, c, i});
  }
  outputs[0] = Tensor(DType::kInt64, {static_cast<int64_t>(rows.size()) / 3, 3});
  std::copy(rows.begin(), rows.end(), data<int64_t>(outputs[0]));
}

void run_non_max_suppression(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  run_maker(make_non_max_suppression, attributes, inputs, outputs);
}

}  // namespace octet::kernels::generic
