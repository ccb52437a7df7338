// The reference, for any CPU: what the others are tested against.
#define OPTKIT_WIDTH 4

#include "isa/kernels.h"

namespace optkit::isa::scalar {
namespace {

#include "isa/shared/scalar.inl"

constexpr LinearKernel linear[] = {{Form::block4, 1, 1, block4<1>},    {Form::block4, 2, 1, block4<2>},
                                   {Form::block4, 4, 1, block4<4>},    {Form::block4, 8, 1, block4<8>},
                                   {Form::block4, 16, 1, block4<16>},  {Form::block4, 32, 1, block4<32>},
                                   {Form::element, 1, 1, gathered<1>}, {Form::element, 4, 1, gathered<4>},
                                   {Form::single, 1, 1, single<1>},    {Form::single, 4, 1, single<4>}};

constexpr Kernels make_kernels() {
    Kernels kernels = scalar_kernels();
    kernels.linear = linear;
    kernels.linear_count = sizeof linear / sizeof *linear;
    return kernels;
}

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = make_kernels();

}  // namespace optkit::isa::scalar
