// The kernel functions of one instruction set; kernel_list.cpp is the table of them.
#pragma once

#include "devices/cpu/kernel_table.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

void sdpa(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch);
void flash_attn_vec(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch);
void flash_attn_vec_reduce(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch);
void store_partial(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch);
void tq_encode(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch);
void tq_decode(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch);
void hadamard(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch);

const KernelTable& kernel_table();

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
