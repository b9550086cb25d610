// How memory lies in pages: large ones, and those that the system can have back.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace octet {

// The pages of a mapped file leave this process's memory; what touches them reads them again, from the
// system's cache as a rule. `bytes` must be (part of) MappedFile::bytes(). Any thread may go on reading.
void drop_pages(std::span<const std::byte> bytes) noexcept;

// A copy of a mapped file in large pages, whose pages in this process are dropped as they are copied. For
// what is read from end to end, again and again: a core that knows the places of 1,500 to 3,000 pages of 4 KB
// looks the others up each time. Null where the file is too small to gain, so large that processes had better
// share it, or where there is no memory; on a system without large pages, small ones.
std::shared_ptr<const std::byte> copy_in_large_pages(std::span<const std::byte> mapped);

// What was freed goes back to the system, where the allocator would keep it for later; takes milliseconds.
void return_freed_memory() noexcept;

}  // namespace octet
