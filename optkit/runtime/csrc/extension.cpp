// What the library shows to OpenVINO (its operations) and to Python (a few C functions that need no Core).

#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include <openvino/core/extension.hpp>
#include <openvino/core/op_extension.hpp>

#include "dispatch.h"
#include "engine.h"
#include "profile.h"
#include "program.h"

OPENVINO_CREATE_EXTENSIONS(std::vector<ov::Extension::Ptr>({std::make_shared<ov::OpExtension<optkit::Program>>()}));

#define OPTKIT_API extern "C" __attribute__((visibility("default")))

namespace {

const char* names(const std::vector<const optkit::Kernels*>& list, std::string& memory) {
    memory.clear();
    for (const optkit::Kernels* kernels : list)
        memory += (memory.empty() ? "" : ",") + std::string(kernels->name);
    return memory.c_str();
}

thread_local std::string answer;

}  // namespace

/// The OpenVINO that this library was built for, which is the only one it loads into.
OPTKIT_API const char* optkit_openvino_version() { return OPTKIT_OPENVINO_VERSION; }

/// Names of kernels, slowest first, separated by commas.
OPTKIT_API const char* optkit_compiled_isas() { return names(optkit::compiled(), answer); }
OPTKIT_API const char* optkit_isas() { return names(optkit::supported(), answer); }

/// The kernels in use; empty when OPTKIT_ISA names none that can run here.
OPTKIT_API const char* optkit_isa() {
    try {
        return optkit::chosen().name;
    } catch (const std::exception&) {
        return "";
    }
}

/// Null if the bytes are a valid program, else what is wrong.
OPTKIT_API const char* optkit_validate(const uint8_t* bytes, size_t size) {
    try {
        optkit::parse(bytes, size);
        return nullptr;
    } catch (const std::exception& error) {
        answer = error.what();
        return answer.c_str();
    }
}

OPTKIT_API void optkit_profile_enable(int on) { optkit::profile::enabled = on != 0; }

/// Writes the counters since the last call as JSON, and sets them to 0; returns the length needed.
OPTKIT_API size_t optkit_profile_read(char* json, size_t capacity) {
    const std::string text = optkit::profile::read();
    if (capacity > text.size())
        std::memcpy(json, text.c_str(), text.size() + 1);
    return text.size() + 1;
}

/// 8-bit multiply-adds of one thread, in registers, so many of them: for the machine's peak. 0 for an unknown name.
OPTKIT_API uint64_t optkit_peak(const char* isa, uint64_t iterations) {
    for (const optkit::Kernels* kernels : optkit::supported())
        if (std::strcmp(isa, kernels->name) == 0) {
            int32_t sink = 0;
            return kernels->peak(iterations, &sink);
        }
    return 0;
}
