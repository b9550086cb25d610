#include "base/pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace octet {
namespace {

constexpr size_t kLargePage = 2 << 20;
constexpr size_t kLeastCopied = 4 << 20, kMostCopied = 256 << 20;

}  // namespace

void drop_pages(std::span<const std::byte> bytes) noexcept {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t first = (begin + page - 1) / page * page, last = (begin + bytes.size()) / page * page;
  if (bytes.empty() || last <= first) return;
  // A hint: nothing depends on whether the system takes it.
  (void)::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

std::shared_ptr<const std::byte> copy_in_large_pages(std::span<const std::byte> mapped) {
  if (mapped.size() < kLeastCopied || mapped.size() > kMostCopied) return nullptr;
  const size_t size = (mapped.size() + 2 * kLargePage - 1) / kLargePage * kLargePage;  // one to align it
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  const auto address = reinterpret_cast<uintptr_t>(memory);
  auto* first = static_cast<std::byte*>(memory) + (kLargePage - address % kLargePage) % kLargePage;
  std::shared_ptr<const std::byte> copy(first, [memory, size](const std::byte*) { ::munmap(memory, size); });
#if defined(MADV_HUGEPAGE)
  (void)::madvise(first, mapped.size(), MADV_HUGEPAGE);  // a hint
#endif
  for (size_t i = 0; i < mapped.size(); i += kLargePage) {
    const auto part = mapped.subspan(i, std::min(kLargePage, mapped.size() - i));
    std::memcpy(first + i, part.data(), part.size());
    drop_pages(part);
  }
  return copy;
}

void return_freed_memory() noexcept {
#if defined(__GLIBC__)
  (void)::malloc_trim(0);
#endif
}

}  // namespace octet
