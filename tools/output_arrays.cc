#include "output_arrays.h"

#include <xxhash.h>

#include <cstring>
#include <memory>

#include "base/checked.h"

namespace octet::tools {

OutputArrays::OutputArrays(const engine::Model& model, int64_t samples) : model_(model), samples_(samples) {}

void OutputArrays::allocate(const engine::Context& context) {
  for (size_t i = 0; i < model_.outputs.size(); ++i) {
    const Tensor& output = context.output(i);
    Shape shape = output.shape().empty() ? Shape{1} : output.shape();
    if (i == 0) rows_ = shape[0];
    shape[0] = checked_mul(shape[0], samples_);
    shapes_.push_back(output.shape());
    arrays_.emplace_back(output.dtype(), shape);
  }
}

void OutputArrays::store(int64_t index, const engine::Context& context) {
  std::call_once(allocated_, [&] { allocate(context); });
  for (size_t i = 0; i < arrays_.size(); ++i) {
    const Tensor& output = context.output(i);
    if (output.shape() != shapes_[i])
      fail(ErrorCode::kInvalidArgument,
           "output '{}' has shape {}, but {} for another sample: such data needs one run per shape",
           model_.tensors[model_.outputs[i]].name, to_string(output.shape()), to_string(shapes_[i]));
    std::memcpy(static_cast<std::byte*>(arrays_[i].raw()) + index * output.bytes(), output.raw(),
                static_cast<size_t>(output.bytes()));
  }
}

void OutputArrays::close(const std::vector<SkippedSample>& skipped) {
  if (arrays_.empty())
    fail(ErrorCode::kInvalidArgument, "none of the {} samples could be read: {}", samples_,
         skipped.empty() ? "" : skipped.front().reason);
  if (skipped.empty()) return;
  const int64_t kept = samples_ - static_cast<int64_t>(skipped.size());
  for (Tensor& array : arrays_) {
    const int64_t bytes = array.bytes() / samples_;
    auto* data = static_cast<std::byte*>(array.raw());
    size_t next = 0;
    int64_t to = 0;
    for (int64_t from = 0; from < samples_; ++from) {
      if (next < skipped.size() && skipped[next].index == from) {
        ++next;
        continue;
      }
      if (to != from) std::memmove(data + to * bytes, data + from * bytes, static_cast<size_t>(bytes));
      ++to;
    }
    Shape shape = array.shape();
    shape[0] = shape[0] / samples_ * kept;
    const auto owner = std::make_shared<const Tensor>(array);
    array = Tensor::view(array.dtype(), std::move(shape), static_cast<void*>(data), owner);
  }
}

uint64_t arrays_hash(const std::vector<Tensor>& arrays) {
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(),
                                                                              XXH3_freeState);
  XXH3_64bits_reset(state.get());
  for (const Tensor& t : arrays)
    if (t.bytes() > 0) XXH3_64bits_update(state.get(), t.raw(), static_cast<size_t>(t.bytes()));
  return XXH3_64bits_digest(state.get());
}

}  // namespace octet::tools
