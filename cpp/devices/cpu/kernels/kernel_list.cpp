// The kernels of one instruction set, by name.
#include "devices/cpu/kernels/kernels.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {
namespace {

constexpr KernelEntry kEntries[] = {
    {"sdpa", sdpa},
    {"flash_attn_vec", flash_attn_vec},
    {"flash_attn_vec_reduce", flash_attn_vec_reduce},
    {"store_partial", store_partial},
    {"tq_sdpa", sdpa},
    {"tq_flash_attn_vec", flash_attn_vec},
    {"tq_encode", tq_encode},
    {"tq_decode", tq_decode},
    {"hadamard", hadamard},
};

constexpr KernelTable kTable{METALHEAD_ISA_NAME, kEntries};

}  // namespace

const KernelTable& kernel_table() { return kTable; }

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
