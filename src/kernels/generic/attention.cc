// Attention and RotaryEmbedding, in float32.
#include <cmath>
#include <limits>

#include "base/cpu.h"
#include "kernels/generic/dot.h"
#include "kernels/generic/math.h"
#include "kernels/generic/ops.h"
#include "kernels/simd/function.h"

namespace octet::kernels::generic {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// [batch, heads, length, size], stored so or as [batch, length, heads * size].
struct Heads {
  int64_t batch = 0, count = 0, length = 0, size = 0;
  int64_t head_stride = 0, row_stride = 0;

  int64_t offset(int64_t b, int64_t h, int64_t row) const {
    return b * count * length * size + h * head_stride + row * row_stride;
  }
};

Heads read_heads(const Tensor& t, int64_t heads) {
  const Shape& s = t.shape();
  if (t.rank() == 4) return {s[0], s[1], s[2], s[3], s[2] * s[3], s[3]};
  expect(t.rank() == 3, "rank 3 or 4 expected");
  expect(heads >= 1 && s[2] % heads == 0, "q_num_heads and kv_num_heads must divide the last axis");
  return {s[0], heads, s[1], s[2] / heads, s[2] / heads, s[2]};
}

// `past` and `now` one behind the other, as [batch, heads, length, size].
Tensor join(const Tensor* past, const Tensor& now, const Heads& own) {
  int64_t before = 0;
  if (past != nullptr) {
    expect_dtype(*past, DType::kFloat32);
    expect(past->rank() == 4 && past->shape()[0] == own.batch && past->shape()[1] == own.count &&
               past->shape()[3] == own.size,
           "the cache does not fit");
    before = past->shape()[2];
  }
  const int64_t total = before + own.length;
  Tensor result(DType::kFloat32, {own.batch, own.count, total, own.size});
  for (int64_t b = 0; b < own.batch; ++b)
    for (int64_t h = 0; h < own.count; ++h) {
      float* target = data<float>(result) + (b * own.count + h) * total * own.size;
      if (before > 0)
        target = std::copy_n(data<float>(*past) + (b * own.count + h) * before * own.size, before * own.size,
                             target);
      for (int64_t row = 0; row < own.length; ++row)
        target = std::copy_n(data<float>(now) + own.offset(b, h, row), own.size, target);
    }
  return result;
}

// What is added to the scores: the mask, broadcast from the right, -infinity behind its end and where a key
// may not be seen.
class Bias {
 public:
  Bias(const Attributes& attributes, Inputs inputs, const Heads& q, int64_t keys, int64_t before)
      : keys_(keys), causal_(attributes.get_int("is_causal", 0) != 0) {
    left_ = attributes.get_int("left_window_size", -1);
    right_ = attributes.get_int("right_window_size", -1);
    if (has(inputs, 6)) {
      lengths_ = to_int64(inputs[6]);
      expect(static_cast<int64_t>(lengths_.size()) == q.batch,
             "nonpad_kv_seqlen must have one entry per batch");
      for (int64_t n : lengths_) expect(n >= 0 && n <= keys, "nonpad_kv_seqlen is out of range");
    }
    for (int64_t b = 0; b < q.batch; ++b)
      shift_.push_back(!has(inputs, 4) && !lengths_.empty() ? lengths_[static_cast<size_t>(b)] - q.length
                                                            : before);
    if (!has(inputs, 3)) return;
    mask_ = inputs[3];
    expect(mask_.dtype() == DType::kBool || mask_.dtype() == DType::kFloat32,
           "the mask must be bool or float");
    Shape shape = mask_.shape();
    expect(!shape.empty() && shape.size() <= 4 && shape.back() <= keys, "the mask does not fit");
    shape.insert(shape.begin(), 4 - shape.size(), 1);
    const int64_t whole[] = {q.batch, q.count, q.length};
    const Shape strides = row_major_strides(shape);
    for (size_t d = 0; d < 3; ++d) {
      expect(shape[d] == 1 || shape[d] == whole[d], "the mask does not broadcast");
      stride_[d] = shape[d] == 1 ? 0 : strides[d];
    }
    width_ = shape.back();
  }

  // One row of the bias; false when nothing in it may be seen.
  bool row(int64_t b, int64_t h, int64_t i, float* out) const {
    const int64_t at = mask_.count() >= 0 ? b * stride_[0] + h * stride_[1] + i * stride_[2] : 0;
    const int64_t position = i + shift_[static_cast<size_t>(b)];
    bool any = false;
    for (int64_t j = 0; j < keys_; ++j) {
      float v = 0;
      if (mask_.count() >= 0) {
        if (j >= width_)
          v = kNever;
        else if (mask_.dtype() == DType::kBool)
          v = data<uint8_t>(mask_)[at + j] != 0 ? 0.0f : kNever;
        else
          v = data<float>(mask_)[at + j];
      }
      const bool hidden = (causal_ && j > position) || (left_ >= 0 && position - j > left_) ||
                          (right_ >= 0 && j - position > right_) ||
                          (!lengths_.empty() && j >= lengths_[static_cast<size_t>(b)]);
      out[j] = hidden ? kNever : v;
      any = any || out[j] > kNever;
    }
    return any;
  }

 private:
  int64_t keys_, left_ = -1, right_ = -1, width_ = 0;
  bool causal_;
  std::vector<int64_t> lengths_, shift_;
  Tensor mask_;
  int64_t stride_[3] = {0, 0, 0};
};

void softmax(float* row, int64_t n, ExpKernel exp) {
  const float high = *std::max_element(row, row + n);
  for (int64_t j = 0; j < n; ++j) row[j] -= high;
  exp(row, row, n);
  const float total = sum_lanes(row, n);
  for (int64_t j = 0; j < n; ++j) row[j] /= total;
}

// The stages of the scores that the fourth output may show.
enum Stage : int64_t { kProduct = 0, kCapped = 1, kBiased = 2, kSoftmax = 3 };

}  // namespace

void run_attention(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 3, 7, outputs, 1, 4);
  for (size_t i = 0; i < 3; ++i) expect_dtype(inputs[i], DType::kFloat32);
  const int64_t kv_heads = attributes.get_int("kv_num_heads", 0);
  const Heads q = read_heads(inputs[0], attributes.get_int("q_num_heads", 0)),
              k = read_heads(inputs[1], kv_heads), v = read_heads(inputs[2], kv_heads);
  expect(q.batch == k.batch && k.batch == v.batch && k.length == v.length && k.count == v.count &&
             q.size == k.size && k.count > 0 && q.count % k.count == 0,
         "queries, keys and values do not fit together");
  expect(has(inputs, 4) == has(inputs, 5), "past_key and past_value belong together");
  const Tensor keys = join(has(inputs, 4) ? &inputs[4] : nullptr, inputs[1], k),
               values = join(has(inputs, 5) ? &inputs[5] : nullptr, inputs[2], v);
  const int64_t total = keys.shape()[2];
  expect(values.shape()[2] == total, "past_key and past_value differ in length");
  Tensor& y = outputs[0];
  expect_dtype(y, DType::kFloat32);
  expect_shape(y, inputs[0].rank() == 4 ? Shape{q.batch, q.count, q.length, v.size}
                                        : Shape{q.batch, q.length, q.count * v.size});
  const Heads out = read_heads(y, q.count);
  const Tensor* present[] = {&keys, &values};
  for (size_t i = 1; i < std::min<size_t>(outputs.size(), 3); ++i) {
    if (outputs[i].count() < 0) continue;
    expect_shape(outputs[i], present[i - 1]->shape());
    std::copy_n(data<float>(*present[i - 1]), present[i - 1]->count(), data<float>(outputs[i]));
  }
  Tensor* shown = outputs.size() > 3 && outputs[3].count() >= 0 ? &outputs[3] : nullptr;
  if (shown != nullptr) expect_shape(*shown, {q.batch, q.count, q.length, total});
  const int64_t mode = attributes.get_int("qk_matmul_output_mode", kProduct);
  if (y.count() == 0) return;

  const float scale = attributes.has("scale") ? attributes.get_float("scale", 1.0f)
                                              : 1.0f / std::sqrt(static_cast<float>(q.size));
  const float cap = attributes.get_float("softcap", 0.0f);
  const Bias bias(attributes, inputs, q, total, total - k.length);
  const ExpKernel exp = choose_exp(current_isa());
  std::vector<float> scores(static_cast<size_t>(total)), added(static_cast<size_t>(total));
  for (int64_t b = 0; b < q.batch; ++b)
    for (int64_t h = 0; h < q.count; ++h) {
      const int64_t group = b * k.count + h / (q.count / k.count);
      const float* own_keys = data<float>(keys) + group * total * k.size;
      const float* own_values = data<float>(values) + group * total * v.size;
      for (int64_t i = 0; i < q.length; ++i) {
        const auto show = [&](Stage stage) {
          if (shown != nullptr && mode == stage)
            std::copy_n(scores.data(), total,
                        data<float>(*shown) + ((b * q.count + h) * q.length + i) * total);
        };
        const float* query = data<float>(inputs[0]) + q.offset(b, h, i);
        for (int64_t j = 0; j < total; ++j)
          scores[static_cast<size_t>(j)] = dot_lanes(query, own_keys + j * k.size, k.size) * scale;
        show(kProduct);
        if (cap > 0)
          for (float& s : scores) {
            const double e = exp_exact(-2.0 * std::fabs(static_cast<double>(s) / cap));
            s = static_cast<float>(std::copysign((1 - e) / (1 + e), s) * cap);
          }
        show(kCapped);
        const bool any = bias.row(b, h, i, added.data());
        for (size_t j = 0; j < scores.size(); ++j)
          scores[j] = added[j] > kNever ? scores[j] + added[j] : kNever;
        show(kBiased);
        if (any)
          softmax(scores.data(), total, exp);
        else
          std::fill(scores.begin(), scores.end(), 0.0f);
        show(kSoftmax);
        float* target = data<float>(y) + out.offset(b, h, i);
        std::fill_n(target, v.size, 0.0f);
        for (int64_t j = 0; j < total; ++j) {
          const float p = scores[static_cast<size_t>(j)];
          if (p == 0) continue;
          for (int64_t d = 0; d < v.size; ++d) target[d] += p * own_values[j * v.size + d];
        }
      }
    }
}

// Su et al., "RoFormer" (2021): pairs of elements are turned by an angle that depends on the position.
void run_rotary_embedding(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 3, 4, outputs);
  for (size_t i = 0; i < 3; ++i) expect_dtype(inputs[i], DType::kFloat32);
  const Tensor &x = inputs[0], &cosine = inputs[1], &sine = inputs[2];
  Tensor& y = outputs[0];
  expect_dtype(y, DType::kFloat32);
  expect_shape(y, x.shape());
  const Heads heads = read_heads(x, attributes.get_int("num_heads", 0));
  int64_t turned = attributes.get_int("rotary_embedding_dim", 0);
  if (turned == 0) turned = heads.size;
  expect(turned > 0 && turned <= heads.size && turned % 2 == 0,
         "rotary_embedding_dim must be even and fit the heads");
  const int64_t half = turned / 2, rows = heads.batch * heads.length;
  expect(cosine.rank() >= 1 && cosine.shape() == sine.shape() && cosine.shape().back() == half,
         "the caches do not fit");
  const int64_t cached = cosine.count() / std::max<int64_t>(half, 1);
  std::vector<int64_t> positions;
  if (has(inputs, 3)) {
    expect(cosine.rank() == 2 && inputs[3].count() == rows, "position_ids do not fit");
    positions = to_int64(inputs[3]);
  } else {
    expect(cosine.rank() == 3 && cached == rows,
           "without position_ids the caches have an entry per position");
  }
  const bool interleaved = attributes.get_int("interleaved", 0) != 0;
  std::copy_n(data<float>(x), x.count(), data<float>(y));
  for (int64_t b = 0; b < heads.batch; ++b)
    for (int64_t row = 0; row < heads.length; ++row) {
      const int64_t own = b * heads.length + row,
                    at = positions.empty() ? own : positions[static_cast<size_t>(own)];
      if (at < 0 || at >= cached) fail(ErrorCode::kInvalidArgument, "position {} of {}", at, cached);
      const float *c = data<float>(cosine) + at * half, *s = data<float>(sine) + at * half;
      for (int64_t h = 0; h < heads.count; ++h) {
        const float* in = data<float>(x) + heads.offset(b, h, row);
        float* out = data<float>(y) + heads.offset(b, h, row);
        for (int64_t i = 0; i < half; ++i) {
          const int64_t first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : i + half;
          out[first] = c[i] * in[first] - s[i] * in[second];
          out[second] = s[i] * in[first] + c[i] * in[second];
        }
      }
    }
}

}  // namespace octet::kernels::generic
