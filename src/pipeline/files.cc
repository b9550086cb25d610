#include "pipeline/files.h"

#include <xxhash.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/pages.h"
#include "engine/engine.h"

namespace octet {

FileKind file_kind(const std::filesystem::path& path) {
  const MappedFile file(path);
  if (file.bytes().empty()) fail(ErrorCode::kBadFile, "'{}' is empty", path.string());
  if (engine::is_engine_file(path)) return FileKind::kEngine;
  // No ONNX model begins with a brace: it would be the start of a group, which protobuf gave up.
  return file.bytes()[0] == std::byte{'{'} ? FileKind::kTable : FileKind::kModel;
}

uint64_t file_hash(const std::filesystem::path& path) {
  return content_hash(MappedFile(path));
}

uint64_t content_hash(const MappedFile& file) {
  constexpr size_t kPart = size_t{64} << 20;  // of which the memory is given back
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(),
                                                                              XXH3_freeState);
  XXH3_64bits_reset(state.get());
  for (auto rest = file.bytes(); !rest.empty();) {
    const auto part = rest.first(std::min(kPart, rest.size()));
    XXH3_64bits_update(state.get(), part.data(), part.size());
    drop_pages(part);
    rest = rest.subspan(part.size());
  }
  return XXH3_64bits_digest(state.get());
}

HoldSignals::HoldSignals() {
  sigset_t held;
  sigemptyset(&held);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&held, signal);
  pthread_sigmask(SIG_BLOCK, &held, &before_);
}

HoldSignals::~HoldSignals() {
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace octet
