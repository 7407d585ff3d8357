import resource

from bench.parts.capacity import descriptors


def test_as_many_files_may_be_open_as_clients_need() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert descriptors(10)
        soft, hard = before
        if hard != resource.RLIM_INFINITY:
            assert not descriptors(hard)
            assert descriptors(hard - 200)
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(hard - 100, soft)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
