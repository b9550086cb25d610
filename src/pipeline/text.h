// Numbers as people read them, and logging.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "octet/log.h"

namespace octet {

// Arguments that contradict each other; the command ends with exit status 2.
class UsageError : public Error {
 public:
  explicit UsageError(std::string message) : Error(ErrorCode::kInvalidArgument, std::move(message)) {}
};

std::string db_text(const std::optional<double>& sqnr);  // "23.4 dB", "identical"
std::string hash_text(uint64_t hash);                    // 16 hexadecimal digits
std::string plural(int64_t count, std::string_view noun);

// To a log that may be empty.
void note(const Log& log, std::string_view text);
void warn(const Log& log, std::string_view text);

}  // namespace octet
