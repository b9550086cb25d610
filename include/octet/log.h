// Messages of long work, with their severity.
#pragma once

#include <functional>
#include <string_view>

namespace octet {

enum class Severity { kInternalError = 0, kError, kWarning, kInfo, kVerbose };

// Takes one message, without a newline; called on the thread that asked for the work. Empty: silence.
using Log = std::function<void(Severity severity, std::string_view message)>;

}  // namespace octet
