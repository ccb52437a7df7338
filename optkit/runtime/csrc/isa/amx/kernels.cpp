// AVX-512 with VNNI and bfloat16, and AMX for int8 and bfloat16 (Sapphire Rapids and later): blocks of 16 outputs and
// more, and attention, are computed on its tile registers.
#define OPTKIT_WIDTH 16

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "isa/kernels.h"

namespace optkit::isa::amx {
namespace {

#include "isa/shared/avx512.inl"
#include "isa/amx/tile_register.inl"
#include "isa/shared/tiles.inl"

/// Linux lets a process use the registers once it has asked; to ask again changes nothing.
bool permitted() noexcept {
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM of asm/prctl.h
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

uint64_t tile_peak(uint64_t iterations, int32_t* sink) noexcept {
    configure_tiles();
    begin_sums<0, 2>(nullptr, false);
    begin_sums<1, 2>(nullptr, false);
    Weights<0>::zero();
    Weights<1>::zero();
    Inputs<0>::zero();
    Inputs<1>::zero();
    for (uint64_t i = 0; i < iterations; ++i) {
        add_products<Sums<0, 0>, Weights<0>, Inputs<0>>();
        add_products<Sums<0, 1>, Weights<0>, Inputs<1>>();
        add_products<Sums<1, 0>, Weights<1>, Inputs<0>>();
        add_products<Sums<1, 1>, Weights<1>, Inputs<1>>();
    }
    int32_t sums[kTileRows][kTileRowBytes / 4];
    Sums<1, 1>::store(sums, sizeof sums[0]);
    *sink += sums[0][0];
    release_tiles();
    return iterations * 4 * kTileRows * (kTileRowBytes / 4) * kTileRowBytes;
}

constexpr Kernels make_kernels() {
    Kernels kernels = on_tiles(avx512_kernels());
    kernels.permitted = permitted;
    kernels.peak = tile_peak;
    return kernels;
}

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = make_kernels();

}  // namespace optkit::isa::amx
