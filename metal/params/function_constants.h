// Names of the function constants, of the mask kinds and of the attention kernels' buffer slots.
#pragma once

/// Index of each function constant; one meaning in every kernel that has it.
enum FunctionConstantIndex {
  kConstantHeadDim = 0,       ///< uint: D
  kConstantValueDim = 1,      ///< uint: Dv
  kConstantMaskKind = 2,      ///< uint: one of MaskKind
  kConstantHasSoftcap = 3,    ///< bool
  kConstantHasAlibi = 4,      ///< bool
  kConstantHasSinks = 5,      ///< bool
  kConstantHasKvLengths = 6,  ///< bool: a length for each sequence is bound
  kConstantHasRing = 7,       ///< bool: physical rows start at `ring_start` and wrap
  kConstantHasLse = 8,        ///< bool: the log-sum-exp is wanted
  kConstantKeyBits = 9,       ///< uint: 0 for dense keys, else the bits of a code
  kConstantValueBits = 10,    ///< uint: 0 for dense values, else the bits of a code
  kConstantNormIsHalf = 11,   ///< uint: bit 0 set if key norms are float16, bit 1 if value norms are
  kConstantRotateQuery = 12,  ///< bool: q is in the original basis and keys are packed
  kConstantRotateOut = 13,    ///< bool: values are packed and the caller wants the original basis
  kConstantBits = 14,         ///< uint: bits of a code in the codec's own kernels
  kConstantNormKind = 15,     ///< uint: one of NormKind
  kConstantSearchSteps = 16,  ///< uint: 1, 5 or 17
  kConstantInverse = 17,      ///< bool: the rotation is undone
  kConstantSplitOutput = 18,  ///< bool: partial results are left for `flash_attn_vec_reduce`
  kConstantRowBlocks = 19,    ///< uint: blocks of 8 query rows that a simdgroup holds: 1, 2 or 4 (GPUs alone)
  kConstantKeyGroups = 20,    ///< uint: parts of a threadgroup that take different keys (GPUs alone)
  kConstantWideRows = 21,     ///< uint: bit 0 set if every key row starts at a multiple of 16 bytes and its
                              ///< whole length is one too, bit 1 the same for values
  kConstantHasRingStarts = 22,  ///< bool: the ring's start is bound for each sequence
  kConstantDType0 = 28,         ///< uint: KernelDType of the launch's first dtype; set by the Metal backend
  kConstantDType1 = 29,
  kConstantDType2 = 30,
  kConstantDType3 = 31
};

/// Element types as the constants above give them: the numbers of DType.
enum KernelDType { kTypeFloat32 = 0, kTypeFloat16 = 1, kTypeBFloat16 = 2, kTypeUInt8 = 3 };

enum MaskKind { kMaskNone = 0, kMaskBool = 1, kMaskFloat32 = 2, kMaskFloat16 = 3, kMaskBFloat16 = 4 };

enum NormKind { kNormPlain = 0, kNormCorrected = 1, kNormUnbiased = 2 };

/// Buffer slots of `sdpa`, `flash_attn_vec`, `flash_attn_vec_reduce` and `store_partial`.
enum AttentionSlot {
  kSlotQuery = 0,
  kSlotKey = 1,
  kSlotValue = 2,
  kSlotOut = 3,
  kSlotLse = 4,
  kSlotMask = 5,
  kSlotAlibiSlopes = 6,
  kSlotSinks = 7,
  kSlotKvLengths = 8,
  kSlotRingStarts = 9,
  kSlotKeyNorms = 10,
  kSlotValueNorms = 11,
  kSlotPartialOut = 12,
  kSlotPartialStats = 13
};

/// Buffer slots of `tq_encode`, `tq_decode` and `hadamard`.
enum CodecSlot { kSlotInput = 0, kSlotOutput = 1, kSlotCodes = 2, kSlotNorms = 3, kSlotStatus = 4 };

/// Metal buffer index of the params struct in every kernel.
enum ParamsSlot { kSlotParams = 30 };
