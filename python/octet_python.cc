// The module octet._octet: the public C++ interface as Python sees it. python/octet/__init__.py has what
// users call; this takes arrays that are C-contiguous already.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/function.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <cstring>

#include "octet/builder.h"
#include "octet/octet.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace octet;

namespace {

using Array = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

constexpr const char* kNames[] = {"float32", "float16", "bfloat16", "float64", "int8",
                                  "uint8",   "int16",   "uint16",   "int32",   "uint32",
                                  "int64",   "uint64",  "bool",     "int4",    "uint4"};

DType dtype_of(const nb::dlpack::dtype& t, const std::string& name) {
  using Code = nb::dlpack::dtype_code;
  const auto code = static_cast<Code>(t.code);
  if (t.lanes == 1) {
    if (code == Code::Float && t.bits == 32) return DType::kFloat32;
    if (code == Code::Float && t.bits == 64) return DType::kFloat64;
    if (code == Code::Float && t.bits == 16) return DType::kFloat16;
    if (code == Code::Bfloat) return DType::kBFloat16;
    if (code == Code::Bool) return DType::kBool;
    if (code == Code::Int && t.bits == 8) return DType::kInt8;
    if (code == Code::Int && t.bits == 16) return DType::kInt16;
    if (code == Code::Int && t.bits == 32) return DType::kInt32;
    if (code == Code::Int && t.bits == 64) return DType::kInt64;
    if (code == Code::UInt && t.bits == 8) return DType::kUInt8;
    if (code == Code::UInt && t.bits == 16) return DType::kUInt16;
    if (code == Code::UInt && t.bits == 32) return DType::kUInt32;
    if (code == Code::UInt && t.bits == 64) return DType::kUInt64;
  }
  throw Error(
      ErrorCode::kInvalidArgument,
      "'" + name + "': elements of this type are not supported: expected integers, floats or booleans");
}

nb::dlpack::dtype dlpack_of(DType dtype) {
  using Code = nb::dlpack::dtype_code;
  Code code = Code::UInt;
  if (dtype == DType::kBool) code = Code::Bool;
  if (dtype == DType::kBFloat16) code = Code::Bfloat;
  if (dtype == DType::kFloat32 || dtype == DType::kFloat16 || dtype == DType::kFloat64) code = Code::Float;
  if (dtype == DType::kInt8 || dtype == DType::kInt16 || dtype == DType::kInt32 || dtype == DType::kInt64)
    code = Code::Int;
  return {static_cast<uint8_t>(code), static_cast<uint8_t>(dtype_bits(dtype)), 1};
}

std::vector<int64_t> shape_of(const Array& array) {
  std::vector<int64_t> shape(array.ndim());
  for (size_t d = 0; d < shape.size(); ++d) shape[d] = static_cast<int64_t>(array.shape(d));
  return shape;
}

std::span<const std::byte> bytes_of(const Array& array) {
  return {static_cast<const std::byte*>(array.data()), array.nbytes()};
}

// Takes [(name, array), ...] from an iterator, a list a batch; its own exceptions pass through.
class PythonCalibrator final : public Calibrator {
 public:
  PythonCalibrator(nb::object iterator, int64_t batch, nb::object read, nb::object write,
                   std::string algorithm)
      : iterator_(std::move(iterator)),
        read_(std::move(read)),
        write_(std::move(write)),
        algorithm_(std::move(algorithm)),
        batch_(batch) {}
  ~PythonCalibrator() override {
    nb::gil_scoped_acquire gil;
    held_.clear();
    iterator_.reset();
    read_.reset();
    write_.reset();
  }

  int64_t batch_size() const override { return batch_; }
  bool next_batch(std::span<CalibrationArray> arrays) override {
    nb::gil_scoped_acquire gil;
    held_.clear();
    nb::object batch = iterator_(wanted(arrays));
    if (batch.is_none()) return false;
    std::vector<std::pair<std::string, Array>> given;
    for (nb::handle item : batch) given.push_back(nb::cast<std::pair<std::string, Array>>(item));
    for (const auto& [name, array] : given) {
      CalibrationArray* found = nullptr;
      std::string names;
      for (CalibrationArray& a : arrays) {
        if (a.name == name) found = &a;
        names += (names.empty() ? "'" : ", '") + a.name + "'";
      }
      if (found == nullptr)
        throw Error(ErrorCode::kInvalidArgument,
                    "calibration data: the network has no input '" + name + "'; it has " + names);
      found->dtype = dtype_of(array.dtype(), name);
      found->shape = shape_of(array);
      found->data = array.data();
      held_.push_back(array);
    }
    return true;
  }
  std::string read_cache() override {
    nb::gil_scoped_acquire gil;
    if (read_.is_none()) return {};
    nb::object cache = read_();
    if (cache.is_none()) return {};
    const auto bytes = nb::cast<nb::bytes>(cache);
    return {bytes.c_str(), bytes.size()};
  }
  void write_cache(std::string_view cache) override {
    nb::gil_scoped_acquire gil;
    if (!write_.is_none()) write_(nb::bytes(cache.data(), cache.size()));
  }
  std::string algorithm() const override { return algorithm_; }

 private:
  static nb::list wanted(std::span<const CalibrationArray> arrays) {
    nb::list list;
    for (const CalibrationArray& a : arrays)
      list.append(nb::make_tuple(a.name, kNames[static_cast<int>(a.dtype)], nb::tuple(nb::cast(a.shape))));
    return list;
  }

  nb::object iterator_, read_, write_;
  std::string algorithm_;
  int64_t batch_;
  std::vector<Array> held_;
};

struct BoundContext {
  runtime::Engine engine;
  runtime::Context context;

  // Inputs by name or, from a list, in order. Shapes follow the arrays.
  void set(const std::vector<std::pair<size_t, Array>>& given) {
    bool other = false;
    std::vector<std::vector<int64_t>> shapes(engine.inputs().size());
    for (const auto& [i, array] : given) {
      shapes[i] = shape_of(array);
      other = other || shapes[i] != context.input_shape(i);
    }
    if (other) context.set_shapes(shapes);
    for (const auto& [i, array] : given) {
      const runtime::TensorInfo& info = engine.inputs()[i];
      if (dtype_of(array.dtype(), info.name) != info.dtype)
        throw Error(ErrorCode::kInvalidArgument,
                    "input '" + info.name + "' is " + kNames[static_cast<int>(info.dtype)] +
                        ", but the array is " + kNames[static_cast<int>(dtype_of(array.dtype(), info.name))] +
                        ": convert it");
      context.set_input(i, bytes_of(array));
    }
  }
};

std::vector<std::pair<size_t, Array>> inputs_of(const runtime::Engine& engine, nb::dict given) {
  std::vector<std::pair<size_t, Array>> inputs;
  for (auto [key, value] : given) {
    const auto name = nb::cast<std::string>(key);
    size_t i = 0;
    while (i < engine.inputs().size() && engine.inputs()[i].name != name) ++i;
    if (i == engine.inputs().size()) {
      std::string names;
      for (const auto& t : engine.inputs()) names += (names.empty() ? "'" : ", '") + t.name + "'";
      throw Error(ErrorCode::kInvalidArgument, "the engine has no input '" + name + "'; it has " + names);
    }
    inputs.emplace_back(i, nb::cast<Array>(value));
  }
  if (inputs.size() != engine.inputs().size())
    for (const auto& t : engine.inputs())
      if (!given.contains(t.name.c_str()))
        throw Error(ErrorCode::kInvalidArgument, "the input '" + t.name + "' is missing");
  return inputs;
}

nb::object output_array(const runtime::Context& context, const runtime::TensorInfo& info, size_t index,
                        nb::handle owner, bool copy) {
  const auto bytes = context.output<std::byte>(index);
  const auto& shape = context.output_shape(index);
  std::vector<size_t> sizes(shape.begin(), shape.end());
  void* data = const_cast<std::byte*>(bytes.data());
  if (!copy)
    return nb::cast(
        nb::ndarray<nb::numpy>(data, sizes.size(), sizes.data(), owner, nullptr, dlpack_of(info.dtype)));
  auto* own = new std::byte[bytes.size() + 1];
  if (!bytes.empty()) std::memcpy(own, data, bytes.size());
  nb::capsule keeper(own, [](void* p) noexcept { delete[] static_cast<std::byte*>(p); });
  return nb::cast(
      nb::ndarray<nb::numpy>(own, sizes.size(), sizes.data(), keeper, nullptr, dlpack_of(info.dtype)));
}

BuilderConfig config_of(nb::dict options) {
  BuilderConfig config;
  const auto take = [&](const char* name, auto& to) {
    using T = std::remove_reference_t<decltype(to)>;
    if (options.contains(name) && !nb::object(options[name]).is_none()) to = nb::cast<T>(options[name]);
  };
  take("int8", config.int8);
  take("fp16", config.fp16);
  take("bf16", config.bf16);
  take("deterministic", config.deterministic);
  take("table", config.table);
  take("data", config.data);
  take("preprocess", config.preprocess);
  take("limit", config.limit);
  take("workspace", config.workspace);
  take("method", config.method);
  take("percentile", config.percentile);
  take("target", config.target);
  take("effort", config.effort);
  take("include", config.include);
  take("exclude", config.exclude);
  take("threads", config.threads);
  take("calibration_shapes", config.calibration_shapes);
  if (options.contains("profiles"))
    for (nb::handle p : nb::object(options["profiles"])) {
      InputProfile profile;
      for (auto [name, shapes] : nb::cast<nb::dict>(p)) {
        const auto three = nb::cast<std::vector<std::vector<int64_t>>>(shapes);
        if (three.size() != 3)
          throw Error(ErrorCode::kInvalidArgument,
                      "a profile needs three shapes for each input: minimum, optimum, maximum");
        const auto key = nb::cast<std::string>(name);
        profile.minimum[key] = three[0];
        profile.optimum[key] = three[1];
        profile.maximum[key] = three[2];
      }
      config.profiles.push_back(std::move(profile));
    }
  if (options.contains("calibrator") && !nb::object(options["calibrator"]).is_none())
    config.calibrator = nb::cast<std::shared_ptr<PythonCalibrator>>(options["calibrator"]);
  std::string cache;  // beside a folder of images
  take("cache", cache);
  if (!cache.empty()) {
    config.calibrator = std::make_shared<ImageFolderCalibrator>(config.data, cache, config.preprocess);
    config.data.clear();
  }
  if (options.contains("log") && !nb::object(options["log"]).is_none()) {
    // Held by a pointer that lets go with the lock held, whichever thread it is on.
    const std::shared_ptr<nb::object> log(new nb::object(options["log"]), [](nb::object* o) {
      nb::gil_scoped_acquire gil;
      delete o;
    });
    config.log = [log](Severity severity, std::string_view text) {
      nb::gil_scoped_acquire gil;
      (*log)(static_cast<int>(severity), nb::str(text.data(), text.size()));
    };
  }
  return config;
}

nb::bytes to_bytes(const std::vector<std::byte>& bytes) {
  return nb::bytes(bytes.data(), bytes.size());
}

}  // namespace

NB_MODULE(_octet, m) {
  nb::set_leak_warnings(false);
  m.attr("__version__") = OCTET_VERSION;

  static PyObject* error_type = nullptr;  // the class octet.Error, a borrowed reference to the module's own
  m.def("set_error_type", [](nb::object type) { error_type = type.release().ptr(); });
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const Error& error) {
      static constexpr const char* kCodes[] = {
          "invalid argument", "not found", "bad file", "unsupported", "io", "out of memory", "internal"};
      nb::object value = nb::steal(
          PyObject_CallFunction(error_type, "ss", error.what(), kCodes[static_cast<int>(error.code())]));
      if (value.is_valid()) PyErr_SetObject(error_type, value.ptr());
    }
  });

  nb::class_<runtime::TensorInfo>(m, "TensorInfo")
      .def_ro("name", &runtime::TensorInfo::name)
      .def_prop_ro("dtype", [](const runtime::TensorInfo& t) { return kNames[static_cast<int>(t.dtype)]; })
      .def_prop_ro("shape", [](const runtime::TensorInfo& t) { return nb::tuple(nb::cast(t.shape)); })
      .def_ro("shape_text", &runtime::TensorInfo::shape_text)
      .def_ro("scale", &runtime::TensorInfo::scale)
      .def_ro("zero_point", &runtime::TensorInfo::zero_point)
      .def("__repr__", [](const runtime::TensorInfo& t) {
        return "<" + t.name + " " + kNames[static_cast<int>(t.dtype)] + " " + t.shape_text + ">";
      });

  nb::class_<PythonCalibrator>(m, "Calibrator")
      .def(nb::init<nb::object, int64_t, nb::object, nb::object, std::string>(), "next"_a, "batch_size"_a,
           "read_cache"_a.none(), "write_cache"_a.none(), "algorithm"_a);

  nb::class_<Model>(m, "Model")
      .def_static(
          "load", [](const std::string& path) { return Model::load(std::filesystem::path(path)); },
          nb::call_guard<nb::gil_scoped_release>())
      .def_static("load_bytes",
                  [](nb::bytes bytes, const std::string& name, const std::string& folder) {
                    const std::span<const std::byte> all(reinterpret_cast<const std::byte*>(bytes.c_str()),
                                                         bytes.size());
                    nb::gil_scoped_release free;
                    return Model::load(all, name, folder);
                  })
      .def_prop_ro("inputs", &Model::inputs)
      .def_prop_ro("outputs", &Model::outputs)
      .def_prop_ro("quantized", &Model::quantized)
      .def(
          "save", [](const Model& model, const std::string& path) { model.save(path); },
          nb::call_guard<nb::gil_scoped_release>())
      .def("serialize", [](const Model& model) { return to_bytes(model.serialize()); });

  nb::class_<runtime::Dimension>(m, "Dimension")
      .def_ro("name", &runtime::Dimension::name)
      .def_ro("minimum", &runtime::Dimension::minimum)
      .def_ro("optimum", &runtime::Dimension::optimum)
      .def_ro("maximum", &runtime::Dimension::maximum);

  nb::class_<runtime::Engine>(m, "Engine")
      .def_static(
          "load", [](const std::string& path) { return runtime::Engine::load(std::filesystem::path(path)); },
          nb::call_guard<nb::gil_scoped_release>())
      .def_static("load_bytes",
                  [](nb::bytes bytes, const std::string& name) {
                    return runtime::Engine::load(
                        {reinterpret_cast<const std::byte*>(bytes.c_str()), bytes.size()}, name);
                  })
      .def_prop_ro("inputs", &runtime::Engine::inputs)
      .def_prop_ro("outputs", &runtime::Engine::outputs)
      .def_prop_ro("dimensions", &runtime::Engine::dimensions)
      .def_prop_ro("metadata", &runtime::Engine::metadata)
      .def_prop_ro("producer", &runtime::Engine::producer)
      .def_prop_ro("profiles",
                   [](const runtime::Engine& engine) {
                     std::vector<std::vector<std::vector<std::vector<int64_t>>>> all;
                     for (const runtime::Profile& p : engine.profiles())
                       all.push_back({p.minimum, p.optimum, p.maximum});
                     return all;
                   })
      .def(
          "save", [](const runtime::Engine& engine, const std::string& path) { engine.save(path); },
          nb::call_guard<nb::gil_scoped_release>())
      .def("serialize", [](const runtime::Engine& engine) { return to_bytes(engine.serialize()); });

  nb::class_<BoundContext>(m, "Context")
      .def(
          "__init__",
          [](BoundContext* self, const runtime::Engine& engine, int threads) {
            if (threads < 0 || threads > 4096)
              throw Error(ErrorCode::kInvalidArgument,
                          std::to_string(threads) + " threads: expected 0 to 4096");
            nb::gil_scoped_release free;
            new (self) BoundContext{engine, runtime::Context(engine, {threads, {}})};
          },
          "engine"_a, "threads"_a = 1)
      .def_prop_ro("engine", [](const BoundContext& c) { return c.engine; })
      .def_prop_ro("memory_bytes", [](const BoundContext& c) { return c.context.memory_bytes(); })
      .def("set_shapes",
           [](BoundContext& c, const std::vector<std::vector<int64_t>>& shapes) {
             c.context.set_shapes(shapes);
           })
      .def("input_shape",
           [](const BoundContext& c, size_t i) { return nb::tuple(nb::cast(c.context.input_shape(i))); })
      .def("output_shape",
           [](const BoundContext& c, size_t i) { return nb::tuple(nb::cast(c.context.output_shape(i))); })
      .def(
          "run",
          [](nb::handle_t<BoundContext> self, nb::dict given, bool copy) {
            BoundContext& c = *nb::inst_ptr<BoundContext>(self);
            const auto inputs = inputs_of(c.engine, given);
            c.set(inputs);
            {
              nb::gil_scoped_release free;
              c.context.run();
            }
            nb::dict outputs;
            const auto& infos = c.engine.outputs();
            for (size_t i = 0; i < infos.size(); ++i)
              outputs[infos[i].name.c_str()] = output_array(c.context, infos[i], i, self, copy);
            return outputs;
          },
          "inputs"_a, "copy"_a = true)
      // Addresses of host memory, as octet.tensorrt has them; sizes are those of the shapes.
      .def("run_addresses", [](BoundContext& c, const std::vector<size_t>& addresses) {
        const size_t inputs = c.engine.inputs().size(), outputs = c.engine.outputs().size();
        if (addresses.size() != inputs + outputs)
          throw Error(ErrorCode::kInvalidArgument, std::to_string(addresses.size()) + " bindings: expected " +
                                                       std::to_string(inputs + outputs));
        for (const size_t a : addresses)
          if (a == 0) throw Error(ErrorCode::kInvalidArgument, "a binding is null");
        nb::gil_scoped_release free;
        for (size_t i = 0; i < inputs; ++i)
          c.context.set_input(
              i, std::span(reinterpret_cast<const std::byte*>(addresses[i]), c.context.input_size(i)));
        c.context.run();
        for (size_t o = 0; o < outputs; ++o) {
          const auto bytes = c.context.output<std::byte>(o);
          if (!bytes.empty())
            std::memmove(reinterpret_cast<void*>(addresses[inputs + o]), bytes.data(), bytes.size());
        }
      });

  m.def("quantize", [](const Model& model, nb::dict options) {
    const BuilderConfig config = config_of(options);
    QuantizationReport report;
    Model result = [&] {
      nb::gil_scoped_release free;
      return quantize(model, config, &report);
    }();
    nb::dict about;
    about["samples"] = report.samples;
    about["layers"] = report.layers;
    about["sqnr_db"] = report.sqnr_db;
    about["preprocess"] = report.preprocess;
    about["warnings"] = report.warnings;
    return nb::make_tuple(result, about);
  });
  m.def("calibrate", [](const Model& model, nb::dict options, const std::string& format) {
    const BuilderConfig config = config_of(options);
    nb::gil_scoped_release free;
    return calibrate(model, config, format);
  });
  m.def("build", [](const Model& model, nb::dict options) {
    const BuilderConfig config = config_of(options);
    nb::gil_scoped_release free;
    return build(model, config);
  });
  m.def("compare", [](const runtime::Engine& reference, const runtime::Engine& engine, nb::dict options) {
    const BuilderConfig config = config_of(options);
    ModelComparison done;
    {
      nb::gil_scoped_release free;
      done = compare(reference, engine, config);
    }
    const auto list = [](const std::vector<ComparedTensor>& tensors) {
      nb::list all;
      for (const ComparedTensor& t : tensors) all.append(nb::make_tuple(t.name, t.sqnr_db, t.cosine));
      return all;
    };
    return nb::make_tuple(list(done.layers), list(done.outputs), done.samples);
  });
}
