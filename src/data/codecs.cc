#include "data/codecs.h"

#include <dlfcn.h>

#include "base/error.h"

namespace octet {
namespace {

using Decode = cv::Mat (*)(cv::InputArray, int);

Decode load() {
  // Its name in the Itanium C++ ABI: cv::imdecode(cv::_InputArray const&, int).
  constexpr const char* kSymbol = "_ZN2cv8imdecodeERKNS_11_InputArrayEi";
  void* library = dlopen(OCTET_IMGCODECS, RTLD_NOW | RTLD_LOCAL);
  void* symbol = library == nullptr ? nullptr : dlsym(library, kSymbol);
  if (symbol == nullptr)
    fail(ErrorCode::kNotFound,
         "images need OpenCV's codecs, which do not load ({}): install libopencv-imgcodecs406", dlerror());
  return reinterpret_cast<Decode>(symbol);
}

}  // namespace

cv::Mat decode_pixels(cv::InputArray bytes, int flags) {
  static const Decode decode = load();
  return decode(bytes, flags);
}

}  // namespace octet
