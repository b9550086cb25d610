// The C interface over the C++ one.
#include <algorithm>
#include <new>
#include <optional>

#include "octet/octet.h"
#include "octet/runtime.h"

struct octet_engine {
  octet::runtime::Engine engine;
};

struct octet_context {
  octet::runtime::Engine engine;
  octet::runtime::Context context;
  std::vector<std::vector<int64_t>> shapes;  // that were asked for and are not in effect yet
};

namespace {

using octet::Error;
using octet::ErrorCode;

std::string& last_error() {
  thread_local std::string text;
  return text;
}

int failed(int code, const char* text) noexcept {
  try {
    last_error() = text;
  } catch (...) {  // no memory for the text: the code says enough
  }
  return code;
}

// Runs `body`; the code of what it throws.
template <typename F>
int guarded(const F& body) noexcept {
  try {
    body();
    return OCTET_OK;
  } catch (const Error& error) {
    return failed(1 + static_cast<int>(error.code()), error.what());
  } catch (const std::bad_alloc&) {
    return failed(OCTET_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return failed(OCTET_INTERNAL, error.what());
  }
}

void require(const void* pointer, const char* what) {
  if (pointer == nullptr) throw Error(ErrorCode::kInvalidArgument, std::string(what) + " is NULL");
}

int fill(const std::vector<int64_t>& from, int64_t* shape, size_t capacity) {
  if (shape != nullptr) std::copy_n(from.begin(), std::min(capacity, from.size()), shape);
  return static_cast<int>(from.size());
}

const octet::runtime::TensorInfo* info(const octet_engine* engine, size_t index, bool input) {
  if (engine == nullptr) return nullptr;
  const auto& all = input ? engine->engine.inputs() : engine->engine.outputs();
  return index < all.size() ? &all[index] : nullptr;
}

}  // namespace

static_assert(1 + static_cast<int>(ErrorCode::kInternal) == OCTET_INTERNAL);
static_assert(static_cast<int>(octet::DType::kBool) == OCTET_BOOL);

const char* octet_last_error(void) {
  return last_error().c_str();
}

const char* octet_version(void) {
  return OCTET_VERSION;
}

octet_engine* octet_engine_load(const char* path) {
  octet_engine* engine = nullptr;
  guarded([&] {
    require(path, "the path");
    engine = new octet_engine{octet::runtime::Engine::load(path)};
  });
  return engine;
}

octet_engine* octet_engine_load_memory(const void* data, size_t size) {
  octet_engine* engine = nullptr;
  guarded([&] {
    require(data, "the engine's content");
    engine = new octet_engine{octet::runtime::Engine::load({static_cast<const std::byte*>(data), size})};
  });
  return engine;
}

void octet_engine_free(octet_engine* engine) {
  delete engine;
}

size_t octet_input_count(const octet_engine* engine) {
  return engine == nullptr ? 0 : engine->engine.inputs().size();
}
size_t octet_output_count(const octet_engine* engine) {
  return engine == nullptr ? 0 : engine->engine.outputs().size();
}

const char* octet_input_name(const octet_engine* engine, size_t index) {
  const auto* found = info(engine, index, true);
  return found == nullptr ? nullptr : found->name.c_str();
}
const char* octet_output_name(const octet_engine* engine, size_t index) {
  const auto* found = info(engine, index, false);
  return found == nullptr ? nullptr : found->name.c_str();
}
int octet_input_dtype(const octet_engine* engine, size_t index) {
  const auto* found = info(engine, index, true);
  return found == nullptr ? -1 : static_cast<int>(found->dtype);
}
int octet_output_dtype(const octet_engine* engine, size_t index) {
  const auto* found = info(engine, index, false);
  return found == nullptr ? -1 : static_cast<int>(found->dtype);
}

octet_context* octet_context_create(const octet_engine* engine, int threads) {
  octet_context* context = nullptr;
  guarded([&] {
    require(engine, "the engine");
    if (threads < 0 || threads > 4096)
      throw Error(ErrorCode::kInvalidArgument,
                  std::to_string(threads) + " threads: expected 1 to 4096, or 0 for one for each CPU");
    octet::runtime::ContextOptions options;
    options.threads = threads;
    context = new octet_context{engine->engine, octet::runtime::Context(engine->engine, options), {}};
  });
  return context;
}

void octet_context_free(octet_context* context) {
  delete context;
}

int octet_set_input_shape(octet_context* context, size_t index, const int64_t* shape, size_t rank) {
  return guarded([&] {
    require(context, "the context");
    if (rank > 0) require(shape, "the shape");
    const size_t count = context->engine.inputs().size();
    context->context.input_shape(index);  // throws for a wrong index
    auto wanted = context->shapes;
    if (wanted.empty())
      for (size_t i = 0; i < count; ++i) wanted.push_back(context->context.input_shape(i));
    wanted[index].assign(shape, shape + rank);
    try {
      context->context.set_shapes(wanted);
      context->shapes.clear();
    } catch (const Error&) {
      // Alone it may contradict inputs that are still to change.
      if (index + 1 >= count) throw;
      context->shapes = std::move(wanted);
    }
  });
}

int octet_input_shape(const octet_context* context, size_t index, int64_t* shape, size_t capacity) {
  int rank = -1;
  guarded([&] {
    require(context, "the context");
    rank = fill(context->context.input_shape(index), shape, capacity);
  });
  return rank;
}

int octet_output_shape(const octet_context* context, size_t index, int64_t* shape, size_t capacity) {
  int rank = -1;
  guarded([&] {
    require(context, "the context");
    rank = fill(context->context.output_shape(index), shape, capacity);
  });
  return rank;
}

int octet_set_input(octet_context* context, size_t index, const void* data, size_t bytes) {
  return guarded([&] {
    require(context, "the context");
    if (bytes > 0) require(data, "the input's data");
    if (!context->shapes.empty()) {  // says what does not fit
      context->context.set_shapes(context->shapes);
      context->shapes.clear();
    }
    context->context.set_input(index, std::span(static_cast<const std::byte*>(data), bytes));
  });
}

int octet_run(octet_context* context) {
  return guarded([&] {
    require(context, "the context");
    context->context.run();
  });
}

const void* octet_output(const octet_context* context, size_t index) {
  const void* data = nullptr;
  guarded([&] {
    require(context, "the context");
    data = context->context.output<std::byte>(index).data();
  });
  return data;
}

size_t octet_output_bytes(const octet_context* context, size_t index) {
  size_t bytes = 0;
  guarded([&] {
    require(context, "the context");
    bytes = context->context.output_size(index);
  });
  return bytes;
}
