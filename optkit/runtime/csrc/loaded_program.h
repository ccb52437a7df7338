// The engine of a packed program, and which bytes it was made from.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>

#include <openvino/op/constant.hpp>

#include "engine/engine.h"

namespace optkit {

/// Shared by the clones of an operation; safe to use from several threads.
class LoadedProgram {
public:
    /// @throws FormatError if the constant holds no valid program; std::runtime_error if OPTKIT_ISA names no kernels.
    explicit LoadedProgram(std::shared_ptr<const ov::op::v0::Constant> packed);

    const Engine& engine() const { return engine_; }

    /// Whether these bytes are the program that the engine was made from.
    bool made_from(const void* bytes, size_t size) const;

    /// The same for the bytes that a run is given: those of the constant itself, or a copy that OpenVINO made of it,
    /// which is compared as a whole when it is first seen, and in samples from then on.
    bool runs(const void* bytes, size_t size) const;

private:
    // Kept, so that nothing else comes to lie at its address.
    std::shared_ptr<const ov::op::v0::Constant> packed_;
    Engine engine_;
    mutable std::array<std::atomic<const void*>, 16> seen_{};  // addresses of copies
    mutable std::atomic<size_t> next_{0};
};

}  // namespace optkit
