// Boost.Context fibers on one slab of guarded stacks.
#include "fibers.h"

#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>
#include <new>

#include "sanitizers.h"
#include "simt.h"

namespace metalhead::simt {
namespace {

namespace context = boost::context::detail;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kStackBytes = 256 * 1024;
constexpr std::size_t kSlabBytes = kMaxThreadsPerThreadgroup * kStackBytes;

#ifdef METALHEAD_SIMT_ASAN
void announce_switch(void** fake_stack, const void* stack, std::size_t bytes) {
  __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
}
void finish_switch(void* fake_stack, const void** stack, std::size_t* bytes) {
  __sanitizer_finish_switch_fiber(fake_stack, stack, bytes);
}
// An abandoned fiber leaves its frames poisoned.
void forget_frames(const char* stack, std::size_t bytes) { __asan_unpoison_memory_region(stack, bytes); }
#else
void announce_switch(void**, const void*, std::size_t) {}
void finish_switch(void*, const void**, std::size_t*) {}
void forget_frames(const char*, std::size_t) {}
#endif

}  // namespace

struct FiberPool::Trampoline {
  static void enter(context::transfer_t from) {
    FiberPool& pool = of_this_thread();
    pool.scheduler_context_ = from.fctx;
    finish_switch(nullptr, &pool.scheduler_stack_, &pool.scheduler_stack_bytes_);
    pool.entry_();
  }
};

FiberPool& FiberPool::of_this_thread() {
  thread_local FiberPool pool;
  return pool;
}

FiberPool::FiberPool() {
  void* slab =
      mmap(nullptr, kSlabBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (slab == MAP_FAILED) throw std::bad_alloc();
  slab_ = static_cast<char*>(slab);
  for (std::size_t i = 0; i < kMaxThreadsPerThreadgroup; ++i)
    mprotect(slab_ + i * kStackBytes, kPage, PROT_NONE);
}

FiberPool::~FiberPool() {
  if (slab_ != nullptr) munmap(slab_, kSlabBytes);
}

void FiberPool::start(Fiber& fiber, std::size_t index, Entry entry) {
  entry_ = entry;
  fiber.stack = slab_ + index * kStackBytes + kPage;
  fiber.fake_stack = nullptr;
  forget_frames(fiber.stack, kStackBytes - kPage);
  // Stack tops at the same page offset would compete for the same cache sets.
  const std::size_t colour = (index % 32) * 192;
  const std::size_t bytes = kStackBytes - kPage - colour;
  fiber.context = context::make_fcontext(fiber.stack + bytes, bytes, &Trampoline::enter);
}

void FiberPool::resume(Fiber& fiber) {
  announce_switch(&scheduler_fake_stack_, fiber.stack, kStackBytes - kPage);
  fiber.context = context::jump_fcontext(fiber.context, nullptr).fctx;
  finish_switch(scheduler_fake_stack_, nullptr, nullptr);
}

void FiberPool::yield(Fiber& fiber, bool finished) {
  announce_switch(finished ? nullptr : &fiber.fake_stack, scheduler_stack_, scheduler_stack_bytes_);
  scheduler_context_ = context::jump_fcontext(scheduler_context_, nullptr).fctx;
  finish_switch(fiber.fake_stack, &scheduler_stack_, &scheduler_stack_bytes_);
}

bool FiberPool::owns(const void* address) const {
  const char* at = static_cast<const char*>(address);
  return at >= slab_ && at < slab_ + kSlabBytes;
}

}  // namespace metalhead::simt
