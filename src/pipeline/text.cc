#include "pipeline/text.h"

namespace octet {

std::string db_text(const std::optional<double>& sqnr) {
  return sqnr ? fmt::format("{:.2f} dB", *sqnr) : "identical";
}

std::string hash_text(uint64_t hash) {
  return fmt::format("{:016x}", hash);
}

std::string plural(int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

void note(const Log& log, std::string_view text) {
  if (log) log(Severity::kInfo, text);
}

void warn(const Log& log, std::string_view text) {
  if (log) log(Severity::kWarning, text);
}

}  // namespace octet
