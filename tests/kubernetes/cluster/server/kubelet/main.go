// Kubelet is the part of a node that tests of wasme need, made of the kubelet's own packages.
//
//	kubelet serve -map FILE   its streaming server: the API server forwards ports of pods through it. FILE is JSON,
//	                          read again for each connection: {"NAMESPACE/POD": {"15000": 40123}} leads port 15000
//	                          of that pod to 127.0.0.1:40123; port 0 of it, if there, is asked for its container's log:
//	                          {"NAMESPACE/POD": {"log": "FILE"}}. The server's own port is the first line of the output.
//	kubelet mount -root DIR   its hostPath volume plugin: reads a Pod (JSON) on standard input, sets its hostPath
//	                          volumes up as before each start of a pod, and prints {"VOLUME": "" or the refusal}.
//	                          Paths are those of a machine whose root folder is DIR.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/cert"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-client/pkg/logs"
	"k8s.io/klog/v2"
	"k8s.io/kubelet/pkg/cri/streaming"
	"k8s.io/kubelet/pkg/cri/streaming/portforward"
	"k8s.io/kubernetes/pkg/volume"
	"k8s.io/kubernetes/pkg/volume/hostpath"
	"k8s.io/kubernetes/pkg/volume/util/hostutil"
	"k8s.io/mount-utils"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: kubelet serve -map FILE | kubelet mount -root DIR")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	ports := flags.String("map", "", "where the ports of pods lead to")
	root := flags.String("root", "/", "the root folder of the machine")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "serve":
		return serve(containers{ports: *ports})
	case "mount":
		return mountVolumes(os.Stdin, os.Stdout, *root)
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// serve answers what the API server asks a kubelet on its port 10250, as far as it is about forwarding ports.
func serve(runtime containers) error {
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	config := streaming.DefaultConfig
	config.BaseURL = &url.URL{Path: "/cri/"}
	streams, err := streaming.NewServer(config, runtime)
	if err != nil {
		return err
	}
	paths := http.NewServeMux()
	paths.HandleFunc("/portForward/{namespace}/{pod}", func(w http.ResponseWriter, r *http.Request) {
		options, err := portforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		sandbox := r.PathValue("namespace") + "/" + r.PathValue("pod")
		granted, err := streams.GetPortForward(&runtimeapi.PortForwardRequest{PodSandboxId: sandbox, Port: options.Ports})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		// The kubelet proxies to the container runtime's streaming server; here both are one process.
		r.URL.Path = strings.TrimPrefix(granted.Url, "//")
		streams.ServeHTTP(w, r)
	})
	paths.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		if err := runtime.log(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	server := http.Server{Handler: paths, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
	return server.ServeTLS(listener, "", "")
}

// containers is a container runtime whose pods' ports are ports of this machine, and whose logs are files of it.
type containers struct{ ports string }

type pod struct {
	Ports map[string]int `json:"ports"`
	Log   string         `json:"log"`
}

func (c containers) pod(sandbox string) (found pod, err error) {
	text, err := os.ReadFile(c.ports)
	if err != nil {
		return found, err
	}
	var pods map[string]pod
	err = json.Unmarshal(text, &pods)
	return pods[sandbox], err
}

// log writes the log of a pod, one file in the format of container runtimes whatever the container's name.
func (c containers) log(r *http.Request, w io.Writer) error {
	found, err := c.pod(r.PathValue("namespace") + "/" + r.PathValue("pod"))
	if err != nil || found.Log == "" {
		return errors.Join(err, errors.New("no such container"))
	}
	asked := v1.PodLogOptions{Timestamps: r.URL.Query().Get("timestamps") == "true"}
	for name, option := range map[string]**int64{"tailLines": &asked.TailLines, "limitBytes": &asked.LimitBytes} {
		if number, err := strconv.ParseInt(r.URL.Query().Get(name), 10, 64); err == nil {
			*option = &number
		}
	}
	logger := klog.Background()
	return logs.ReadLogs(r.Context(), &logger, found.Log, "", logs.NewLogOptions(&asked, time.Now()), nil, w, w)
}

func (c containers) PortForward(ctx context.Context, sandbox string, port int32, stream io.ReadWriteCloser) error {
	found, err := c.pod(sandbox)
	if err != nil {
		return err
	}
	local, known := found.Ports[strconv.Itoa(int(port))]
	if !known {
		return fmt.Errorf("nothing listens on port %d in pod %s", port, sandbox)
	}
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(local)))
	if err != nil {
		return err
	}
	defer connection.Close()
	go func() {
		_, _ = io.Copy(connection, stream)
		_ = connection.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(stream, connection)
	return err
}

func (containers) Exec(context.Context, string, []string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return errors.New("these containers run no commands")
}

func (containers) Attach(context.Context, string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return errors.New("these containers have no terminal")
}

// mountVolumes does for a pod's hostPath volumes what the kubelet does before it starts the pod's containers.
func mountVolumes(in io.Reader, out io.Writer, root string) error {
	var pod v1.Pod
	if err := json.NewDecoder(in).Decode(&pod); err != nil {
		return err
	}
	plugins := hostpath.ProbeVolumePlugins(volume.VolumeConfig{})
	var manager volume.VolumePluginMgr
	if err := manager.InitPlugins(plugins, nil, machine{root: root}); err != nil {
		return err
	}
	refusals := map[string]string{}
	for i := range pod.Spec.Volumes {
		spec := volume.NewSpecFromVolume(&pod.Spec.Volumes[i])
		if pod.Spec.Volumes[i].HostPath == nil {
			continue
		}
		plugin, err := manager.FindPluginBySpec(spec)
		if err != nil {
			return err
		}
		mounter, err := plugin.NewMounter(spec, &pod)
		if err == nil {
			err = mounter.SetUp(volume.MounterArgs{})
		}
		refusals[spec.Name()] = ""
		if err != nil {
			refusals[spec.Name()] = err.Error()
		}
	}
	return json.NewEncoder(out).Encode(refusals)
}

// machine is what a volume plugin sees of its host: the files below a folder. What it does not need is not there.
type machine struct {
	volume.VolumeHost
	volume.KubeletVolumeHost
	root string
}

func (m machine) GetMounter(string) mount.Interface { return mount.New("") }
func (m machine) GetHostUtil() hostutil.HostUtils   { return below{hostutil.NewHostUtil(), m.root} }

// below is the kubelet's own look at files, for a machine whose root folder is elsewhere.
type below struct {
	hostutil.HostUtils
	root string
}

func (b below) PathExists(path string) (bool, error) {
	return b.HostUtils.PathExists(filepath.Join(b.root, path))
}

func (b below) GetFileType(path string) (hostutil.FileType, error) {
	return b.HostUtils.GetFileType(filepath.Join(b.root, path))
}
