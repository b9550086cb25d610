// See NvInfer.h.
#pragma once
#include "NvInfer.h"
