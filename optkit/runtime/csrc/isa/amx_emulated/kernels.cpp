// The scalar kernels, and those of AMX over emulated registers: for tests, on CPUs that have none.
#define OPTKIT_WIDTH 4

#include "isa/kernels.h"

namespace optkit::isa::amx_emulated {
namespace {

#include "isa/shared/scalar.inl"
#include "isa/amx_emulated/tile_register.inl"
#include "isa/shared/blocks_tiles.inl"

constexpr LinearKernel linear[] = {{Form::block4, 1, 1, block4<1>},
                                   {Form::block4, 2, 1, block4<2>},
                                   {Form::block4, 4, 1, block4<4>},
                                   {Form::block4, 8, 1, block4<8>},
                                   kTileRows16,
                                   kTileRows32,
                                   {Form::element, 1, 1, gathered<1>},
                                   {Form::element, 4, 1, gathered<4>},
                                   {Form::single, 1, 1, single<1>},
                                   {Form::single, 4, 1, single<4>}};

constexpr Kernels make_kernels() {
    Kernels kernels = scalar_kernels();
    kernels.for_tests = true;
    kernels.linear = linear;
    kernels.linear_count = sizeof linear / sizeof *linear;
    kernels.enter = configure_tiles;
    kernels.leave = release_tiles;
    return kernels;
}

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = make_kernels();

}  // namespace optkit::isa::amx_emulated
