// Element types: the public header has them.
#pragma once

#include "octet/dtype.h"
