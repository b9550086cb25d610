#include "kernels/generic/generic.h"

#include "engine/steps/step.h"

namespace octet::engine {
namespace {

// Runs an operator on views of plain tensors.
class GenericStep : public Step {
 public:
  GenericStep(const StepSetup& setup, kernels::GenericFunction function, std::string name)
      : function_(function), name_(std::move(name)), attributes_(setup.attributes()) {
    attributes_.erase("op");
    for (const Operand& o : setup.inputs()) inputs_.push_back(view_of(setup, o));
    for (const Operand& o : setup.outputs()) outputs_.push_back(view_of(setup, o));
    take_parts(setup);
  }

  int64_t pieces() const override { return pieces_; }

  std::string kernel() const override { return name_; }

  std::vector<Tensor> make(Memory memory) override {
    std::vector<Tensor> in = views(inputs_, memory), out;
    for (const View& v : outputs_) out.push_back(v.index < 0 ? Tensor() : Tensor(v.dtype, {0}));
    function_(attributes_, in, out);
    return out;
  }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* /*scratch*/) override {
    const std::vector<Tensor> in = views(inputs_, memory);
    std::vector<Tensor> out = views(outputs_, memory);
    if (pieces_ > 1)
      parts_->run(attributes_, in, out, begin, end);
    else
      function_(attributes_, in, out);
  }

 private:
  struct View {
    int32_t index;
    DType dtype;
    Shape shape;
  };

  // Constants may lie where their type should not; the whole operator then takes copies.
  void take_parts(const StepSetup& setup) {
    for (const Operand& o : setup.inputs())
      if (o && o.constant() && misaligned(o.def->constant)) return;
    const auto shaped = [this](const std::vector<View>& all) {
      std::vector<Tensor> result;
      result.reserve(all.size());
      for (const View& v : all)  // nothing reads or writes their memory
        result.push_back(v.index < 0 ? Tensor() : Tensor::view(v.dtype, v.shape, static_cast<void*>(this)));
      return result;
    };
    const std::vector<Tensor> in = shaped(inputs_), out = shaped(outputs_);
    parts_ = kernels::find_generic_parts(name_, in, out);
    if (parts_ != nullptr) pieces_ = parts_->count(attributes_, in, out);
  }

  static bool misaligned(const Tensor& t) {
    const int64_t bytes = (dtype_bits(t.dtype()) + 7) / 8;
    return reinterpret_cast<uintptr_t>(t.raw()) % static_cast<uintptr_t>(bytes) != 0;
  }

  static std::vector<Tensor> views(const std::vector<View>& all, Memory memory) {
    std::vector<Tensor> result;
    result.reserve(all.size());
    for (const View& v : all)
      result.push_back(v.index < 0 ? Tensor()
                                   : Tensor::view(v.dtype, v.shape, static_cast<void*>(memory[v.index])));
    return result;
  }

  static View view_of(const StepSetup& setup, const Operand& o) {
    if (!o) return {-1, DType::kFloat32, {}};
    setup.expect(!o.nhwc(), "a generic operator takes plain tensors");
    return {o.index, o.def->dtype, o.shape};
  }

  kernels::GenericFunction function_;
  const kernels::GenericParts* parts_ = nullptr;
  int64_t pieces_ = 1;
  std::string name_;
  Attributes attributes_;
  std::vector<View> inputs_, outputs_;
};

}  // namespace

std::unique_ptr<Step> prepare_generic(const StepSetup& setup) {
  const std::string op = setup.attributes().get_string("op", "");
  const kernels::GenericFunction function = kernels::find_generic(op);
  if (function == nullptr) setup.fail_here("there is no operator '" + op + "'");
  return std::make_unique<GenericStep>(setup, function, op);
}

bool makes_outputs(const StepDef& def) {
  return def.kind == "generic" && kernels::find_maker(def.attributes.get_string("op", "")) != nullptr;
}

std::unique_ptr<Step> prepare_maker(const StepSetup& setup) {
  const std::string op = setup.attributes().get_string("op", "");
  return std::make_unique<GenericStep>(setup, kernels::find_maker(op), op);
}

}  // namespace octet::engine
