// The one exception type of Octet.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace octet {

enum class ErrorCode {
  kInvalidArgument,  // the caller asked for something contradictory or impossible
  kNotFound,         // a file or a name that does not exist
  kBadFile,          // a file's content is damaged or not of the expected kind
  kUnsupported,      // valid, but Octet cannot do it
  kIo,               // the operating system refused
  kOutOfMemory,      // a limit on memory would be exceeded
  kInternal,         // a defect of Octet itself
};

// What went wrong, in one line: where, what was found, what was expected, what to do.
class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}
  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorCode code_;
  std::string message_;
};

}  // namespace octet
