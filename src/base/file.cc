#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/error.h"

namespace octet {
namespace {

std::string reason(int error) {
  if (error == ENOENT) return "no such file";
  if (error == EACCES || error == EPERM) return "permission denied";
  return std::generic_category().message(error);
}

[[noreturn]] void fail_open(const std::filesystem::path& path, int error) {
  fail(error == ENOENT || error == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo, "cannot open '{}': {}",
       path.string(), reason(error));
}

[[noreturn]] void fail_write(const std::filesystem::path& path, int error) {
  fail(ErrorCode::kIo, "cannot write '{}': {}", path.string(), reason(error));
}

int open_retrying(const char* path, int flags, mode_t mode = 0) {
  int fd;
  do fd = ::open(path, flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  return fd;
}

struct Descriptor {
  explicit Descriptor(int fd) : value(fd) {}
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int value;
};

// 0, or the errno. Devices and some file systems cannot sync, which is no error.
int sync_descriptor(int fd) {
  while (::fsync(fd) != 0) {
    if (errno == EINTR) continue;
    return errno == EINVAL || errno == ENOTSUP || errno == EROFS ? 0 : errno;
  }
  return 0;
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  const auto parent = path.parent_path();
  return parent.empty() ? "." : parent;
}

}  // namespace

struct MappedFile::Mapping {
  std::filesystem::path path;
  void* data = nullptr;
  size_t size = 0;
  ~Mapping() {
    if (data != nullptr) ::munmap(data, size);
  }
};

MappedFile::MappedFile(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe must not wait for a writer.
  const Descriptor file(open_retrying(path.c_str(), O_RDONLY | O_NONBLOCK));
  if (file.value < 0) fail_open(path, errno);
  struct stat info {};
  if (::fstat(file.value, &info) != 0) fail_open(path, errno);
  if (S_ISDIR(info.st_mode)) fail(ErrorCode::kIo, "cannot open '{}': it is a folder", path.string());
  if (!S_ISREG(info.st_mode)) fail(ErrorCode::kIo, "cannot open '{}': not a regular file", path.string());
  auto mapping = std::make_shared<Mapping>();
  mapping->path = path;
  if (info.st_size > 0) {
    const auto size = static_cast<size_t>(info.st_size);
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value, 0);
    if (data == MAP_FAILED)
      fail(ErrorCode::kIo, "cannot map '{}' ({} bytes): {}", path.string(), size, reason(errno));
    mapping->data = data;
    mapping->size = size;
  }
  mapping_ = std::move(mapping);
}

std::span<const std::byte> MappedFile::bytes() const {
  return {static_cast<const std::byte*>(mapping_->data), mapping_->size};
}

const std::filesystem::path& MappedFile::path() const {
  return mapping_->path;
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  namespace fs = std::filesystem;
  if (path_.empty() || !path_.has_filename())
    fail(ErrorCode::kInvalidArgument, "cannot write '{}': not a file name", path_.string());
  struct stat info {};
  const bool exists = ::stat(path_.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode))
    fail(ErrorCode::kIo, "cannot write '{}': it is a folder", path_.string());
  if (exists && !S_ISREG(info.st_mode)) {
    descriptor_ = open_retrying(path_.c_str(), O_WRONLY);
    if (descriptor_ < 0) fail_write(path_, errno);
    return;
  }
  std::error_code error;
  fs::path target = path_;
  if (fs::is_symlink(path_, error)) {  // what the link points to is replaced, not the link
    target = fs::weakly_canonical(path_, error);
    if (error) fail_write(path_, error.value());
  }
  const fs::path folder = folder_of(target);
  if (!fs::is_directory(folder, error))
    fail(ErrorCode::kNotFound, "cannot write '{}': folder '{}' does not exist", path_.string(),
         folder.string());
  const std::string stem = target.filename().string().substr(0, 200);
  for (int attempt = 0;; ++attempt) {
    temporary_ = folder / fmt::format(".{}.{}-{}.tmp", stem, ::getpid(), attempt);
    descriptor_ = open_retrying(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (descriptor_ >= 0) break;
    if (errno != EEXIST || attempt == 1000) fail_write(path_, errno);
  }
  path_ = std::move(target);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (descriptor_ < 0) fail(ErrorCode::kInternal, "write to '{}' after commit", path_.string());
  while (!bytes.empty()) {
    const size_t part = std::min<size_t>(bytes.size(), size_t{1} << 30);
    const ssize_t n = ::write(descriptor_, bytes.data(), part);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_write(path_, errno);
    bytes = bytes.subspan(static_cast<size_t>(n));
    written_ += n;
  }
}

void AtomicFile::write(std::string_view text) {
  write(std::as_bytes(std::span(text.data(), text.size())));
}

void AtomicFile::commit() {
  if (descriptor_ < 0) fail(ErrorCode::kInternal, "'{}' committed twice", path_.string());
  int error = sync_descriptor(descriptor_);
  // After close the descriptor is gone whatever it returned.
  if (::close(descriptor_) != 0 && error == 0 && errno != EINTR) error = errno;
  descriptor_ = -1;
  if (temporary_.empty()) {
    if (error != 0) fail_write(path_, error);
    return;
  }
  if (error == 0 && ::rename(temporary_.c_str(), path_.c_str()) != 0) error = errno;
  if (error != 0) {
    ::unlink(temporary_.c_str());
    fail_write(path_, error);
  }
  const Descriptor folder(open_retrying(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY));
  if (folder.value >= 0 && (error = sync_descriptor(folder.value)) != 0) fail_write(path_, error);
}

std::string read_text(const std::filesystem::path& path, int64_t limit) {
  const Descriptor file(open_retrying(path.c_str(), O_RDONLY));
  if (file.value < 0) fail_open(path, errno);
  struct stat info {};
  if (::fstat(file.value, &info) != 0) fail_open(path, errno);
  if (S_ISDIR(info.st_mode)) fail(ErrorCode::kIo, "cannot open '{}': it is a folder", path.string());
  const auto too_large = [&] {
    fail(ErrorCode::kBadFile, "'{}' is too large: more than {} bytes", path.string(), limit);
  };
  if (S_ISREG(info.st_mode) && info.st_size > limit) too_large();
  std::string text;
  if (S_ISREG(info.st_mode)) text.reserve(static_cast<size_t>(info.st_size));
  char buffer[1 << 16];
  for (;;) {
    const ssize_t n = ::read(file.value, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(ErrorCode::kIo, "cannot read '{}': {}", path.string(), reason(errno));
    if (n == 0) return text;
    text.append(buffer, static_cast<size_t>(n));
    if (static_cast<int64_t>(text.size()) > limit) too_large();
  }
}

std::string safe_file_name(std::string_view name) {
  // File systems take 255 bytes; callers add an ending, and a save in progress one more. The end of a name
  // tells more than its beginning: scopes come first.
  constexpr size_t kLongest = 200;
  std::string safe(name.substr(name.size() - std::min(name.size(), kLongest)));
  for (char& c : safe) {
    const bool keep = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '_' || c == '-';
    if (!keep) c = '_';
  }
  if (safe.empty()) return "_";
  if (safe == "." || safe == "..") safe.assign(safe.size(), '_');
  return safe;
}

}  // namespace octet
