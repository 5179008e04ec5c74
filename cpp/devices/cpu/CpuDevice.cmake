# Adds the CPU device to metalhead_core; its kernels are compiled once for each instruction set.
file(GLOB METALHEAD_CPU_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cpp)
file(GLOB METALHEAD_CPU_KERNELS CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/kernels/*.cpp)
file(GLOB METALHEAD_CPU_BF16_KERNELS CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/kernels/bf16/*.cpp)
file(GLOB METALHEAD_CPU_AMX_KERNELS CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/kernels/amx/*.cpp
     ${CMAKE_CURRENT_LIST_DIR}/kernels/tile_loader.cpp)
target_sources(metalhead_core PRIVATE ${METALHEAD_CPU_SOURCES})

# metalhead_add_cpu_kernels(namespace name macro kernels flags...): one object library with those kernels, a list's
# name, for one instruction set.
function(metalhead_add_cpu_kernels namespace name macro kernels)
  set(target metalhead_cpu_${namespace})
  add_library(${target} OBJECT ${${kernels}})
  target_link_libraries(${target} PRIVATE metalhead_options)
  target_compile_definitions(${target} PRIVATE METALHEAD_ISA_NAMESPACE=${namespace} METALHEAD_ISA_NAME="${name}" ${macro}=1)
  target_compile_options(${target} PRIVATE ${ARGN} -fno-math-errno -fno-trapping-math -ffp-contract=off)
  if(METALHEAD_SANITIZE)  # Instrumented code of everything inlined takes minutes to compile.
    target_compile_definitions(${target} PRIVATE always_inline=unused)
  endif()
  target_sources(metalhead_core PRIVATE $<TARGET_OBJECTS:${target}>)
  set_property(SOURCE ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/kernel_table.cpp APPEND PROPERTY COMPILE_DEFINITIONS METALHEAD_HAVE_${macro}=1)
endfunction()

# Assemblers learned of tiles later than compilers learned of C++20.
set(METALHEAD_AMX -mamx-tile -mamx-bf16)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  include(CheckCXXSourceCompiles)
  list(JOIN METALHEAD_AMX " " CMAKE_REQUIRED_FLAGS)
  check_cxx_source_compiles("int main() { asm volatile(\"tdpbf16ps %tmm2, %tmm1, %tmm0\"); }" METALHEAD_BUILDS_AMX)
  unset(CMAKE_REQUIRED_FLAGS)
endif()

# Exactly the extensions that kernel_table.cpp asks the machine for.
set(METALHEAD_AVX2 -march=x86-64-v2 -mavx2 -mfma -mf16c -mbmi -mbmi2)
set(METALHEAD_AVX512 ${METALHEAD_AVX2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd)
set(METALHEAD_CPU_ISAS "x86-64-v2;avx2;avx512" CACHE STRING "x86: the instruction sets that kernels are compiled for")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  if("x86-64-v2" IN_LIST METALHEAD_CPU_ISAS)
    metalhead_add_cpu_kernels(isa_x86_64_v2 x86-64-v2 ISA_X86_64_V2 METALHEAD_CPU_KERNELS -march=x86-64-v2)
  endif()
  if(avx2 IN_LIST METALHEAD_CPU_ISAS)
    metalhead_add_cpu_kernels(isa_avx2 avx2 ISA_AVX2 METALHEAD_CPU_KERNELS ${METALHEAD_AVX2})
  endif()
  if(avx512 IN_LIST METALHEAD_CPU_ISAS)
    list(APPEND METALHEAD_AVX512 -mprefer-vector-width=512)
    metalhead_add_cpu_kernels(isa_avx512 avx512 ISA_AVX512 METALHEAD_CPU_KERNELS ${METALHEAD_AVX512})
    # These are AVX-512 but for sdpa. Builds with tests have them emulated too, for any AVX-512 machine and too slow for
    # anything else.
    metalhead_add_cpu_kernels(isa_avx512_bf16 avx512_bf16 ISA_AVX512_BF16 METALHEAD_CPU_BF16_KERNELS ${METALHEAD_AVX512}
                              -mavx512bf16)
    if(METALHEAD_BUILDS_AMX)
      metalhead_add_cpu_kernels(isa_amx_bf16 amx_bf16 ISA_AMX_BF16 METALHEAD_CPU_AMX_KERNELS ${METALHEAD_AVX512}
                                -mavx512bf16 ${METALHEAD_AMX})
    endif()
    if(METALHEAD_BUILD_TESTS)
      metalhead_add_cpu_kernels(isa_avx512_bf16_emulated avx512_bf16_emulated ISA_AVX512_BF16_EMULATED
                                METALHEAD_CPU_BF16_KERNELS ${METALHEAD_AVX512})
      metalhead_add_cpu_kernels(isa_amx_bf16_emulated amx_bf16_emulated ISA_AMX_BF16_EMULATED
                                METALHEAD_CPU_AMX_KERNELS ${METALHEAD_AVX512})
    endif()
  endif()
else()
  metalhead_add_cpu_kernels(isa_neon neon ISA_NEON METALHEAD_CPU_KERNELS)
endif()
