# The engine without OpenVINO, as the object library optkit_engine: what the extension, the fuzz program and the
# sanitizers' programs share. Its kernels are the rows of isa/sets.def, each compiled for its own CPU features.
include(CheckCXXCompilerFlag)
find_package(Threads REQUIRED)

set(OPTKIT_CSRC ${CMAKE_CURRENT_LIST_DIR})
file(GLOB engine_sources CONFIGURE_DEPENDS
     ${OPTKIT_CSRC}/format/*.cpp ${OPTKIT_CSRC}/plan/*.cpp ${OPTKIT_CSRC}/engine/*.cpp ${OPTKIT_CSRC}/isa/*.cpp)
add_library(optkit_engine OBJECT ${engine_sources})
target_include_directories(optkit_engine PUBLIC ${OPTKIT_CSRC})
target_link_libraries(optkit_engine PUBLIC Threads::Threads)
target_compile_options(optkit_engine PRIVATE -fno-math-errno -fno-trapping-math -Wall -Wextra)
set_target_properties(optkit_engine PROPERTIES
    CXX_STANDARD 17
    CXX_STANDARD_REQUIRED ON
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden
    POSITION_INDEPENDENT_CODE ON)

# A set whose features the compiler does not know is left out: its row says so to whoever asks. So are those of the list
# OPTKIT_LEFT_OUT.
function(optkit_add_kernels name)
    string(MAKE_C_IDENTIFIER "OPTKIT_COMPILES_${name}" known)
    string(REPLACE ";" " " flags "${ARGN}")
    check_cxx_compiler_flag("${flags}" ${known})
    if(${known})
        set(source ${OPTKIT_CSRC}/isa/${name}/kernels.cpp)
        target_sources(optkit_engine PRIVATE ${source})
        set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${ARGN};-fno-exceptions")
    else()
        message(WARNING "no ${name} kernels: ${CMAKE_CXX_COMPILER} does not know ${flags}")
    endif()
endfunction()

set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${OPTKIT_CSRC}/isa/sets.def)
file(STRINGS ${OPTKIT_CSRC}/isa/sets.def rows REGEX "^ *OPTKIT_(INSTRUCTION_SET|CPU_FEATURE|COMPILER_OPTIONS)")
foreach(row IN LISTS rows)
    if(row MATCHES "OPTKIT_INSTRUCTION_SET\\(([a-z0-9_]+)")
        set(name ${CMAKE_MATCH_1})
        set(options "")
    elseif(row MATCHES "OPTKIT_CPU_FEATURE\\(\"([^\"]+)\"")
        list(APPEND options "-m${CMAKE_MATCH_1}")
    elseif(name IN_LIST OPTKIT_LEFT_OUT)
        continue()
    elseif(row MATCHES "OPTKIT_COMPILER_OPTIONS\\(\"([^\"]*)\"")
        separate_arguments(more UNIX_COMMAND "${CMAKE_MATCH_1}")
        optkit_add_kernels(${name} ${options} ${more})
    endif()
endforeach()
