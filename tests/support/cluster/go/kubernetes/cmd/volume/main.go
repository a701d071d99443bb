// Command volume makes and removes the folder of one volume: what the provisioner's
// helper pod does, so that its image needs no shell.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	path := flag.String("p", "", "folder of the volume")
	action := flag.String("a", "", "create or delete")
	flag.String("m", "", "volume mode")
	flag.Int64("s", 0, "size in bytes, not enforced")
	flag.Parse()
	if err := apply(*action, *path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func apply(action, path string) error {
	switch action {
	case "create":
		if err := os.MkdirAll(path, 0o777); err != nil {
			return err
		}
		return os.Chmod(path, 0o777) // whatever the umask: pods run as any user
	case "delete":
		return os.RemoveAll(path)
	}
	return fmt.Errorf("action %q is neither create nor delete", action)
}
