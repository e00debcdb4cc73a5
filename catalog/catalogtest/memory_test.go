package catalogtest

import (
	"testing"

	"hawser.dev/hawser/catalog"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	var memory Memory
	TestBucket(t, func(*testing.T) catalog.Bucket { return &memory })
}

func TestFaultyWithoutHooksKeepsTheContract(t *testing.T) {
	var memory Memory
	TestBucket(t, func(*testing.T) catalog.Bucket { return &Faulty{Bucket: &memory} })
}
