// Memory that the system can have back.
#pragma once

#include <cstddef>
#include <span>

namespace octet {

// The pages of a mapped file leave this process's memory; what touches them reads them again, from the
// system's cache as a rule. `bytes` must be (part of) MappedFile::bytes(). Any thread may go on reading.
void drop_pages(std::span<const std::byte> bytes) noexcept;

// What was freed goes back to the system, where the allocator would keep it for later; takes milliseconds.
void return_freed_memory() noexcept;

}  // namespace octet
