// Programs call this before they load an engine. There are no plugins here, and no need of them: operators
// that Octet does not know are errors of the parser.
#pragma once

#include "NvInfer.h"

inline bool initLibNvInferPlugins(void* logger, const char* space) {
  (void)logger;
  (void)space;
  return true;
}
